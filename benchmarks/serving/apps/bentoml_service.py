"""BentoML, with and without its adaptive batching."""

import os

import bentoml
import joblib
import numpy as np

api = bentoml.api
if os.environ.get("BENCH_BATCH"):
    api = bentoml.api(batchable=True, max_batch_size=int(os.environ["BENCH_BATCH"]))


@bentoml.service
class Sklearn:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @api
    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict(features)
