"""KServe's model server with its scikit-learn server's own `predict`, which is not on the package index.

KServe batches in an agent beside the server, in the pod; without Kubernetes there is no such agent.
"""

import os

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(Model):
    def __init__(self) -> None:
        super().__init__("model")
        self.load()

    def load(self) -> bool:
        self._model = joblib.load(os.environ["BENCH_MODEL"])
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None):
        result = self._model.predict(get_predict_input(payload))
        return get_predict_response(payload, result, self.name)


if __name__ == "__main__":
    ModelServer(http_port=int(os.environ["BENCH_PORT"]), enable_grpc=False).start([SklearnModel()])
