"""Ray Serve, with and without its batching: one replica, on a Ray of its own that ends with this process."""

import os
import signal

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

BATCH = int(os.environ.get("BENCH_BATCH", "0"))


@serve.deployment
class Sklearn:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    async def __call__(self, request: Request) -> dict[str, list[int]]:
        features = (await request.json())["features"]
        return {"predictions": self.model.predict(np.array(features)).tolist()}


@serve.deployment(max_ongoing_requests=2 * (BATCH or 1))  # the default, 5, would limit its batches to 5
class BatchedSklearn:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    async def __call__(self, request: Request) -> dict[str, list[int]]:
        return {"predictions": await self.predict((await request.json())["features"])}

    @serve.batch(max_batch_size=BATCH or 1, batch_wait_timeout_s=float(os.environ.get("BENCH_WAIT", "0")))
    async def predict(self, requests: list[list[list[float]]]) -> list[list[int]]:
        labels = self.model.predict(np.concatenate([np.array(rows) for rows in requests]))
        ends = np.cumsum([len(rows) for rows in requests])[:-1]
        return [part.tolist() for part in np.split(labels, ends)]


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=os.environ["BENCH_SCRATCH"], object_store_memory=2**27)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    serve.run((BatchedSklearn if BATCH else Sklearn).bind(os.environ["BENCH_MODEL"]))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
