"""What one writes first: FastAPI, pydantic and scikit-learn in one file. BENCH_ASYNC spares it the thread pool."""

import os

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["BENCH_MODEL"])


class Request(BaseModel):
    features: list[list[float]]


class Answer(BaseModel):
    predictions: list[int]


def predict(request: Request) -> Answer:
    return Answer(predictions=model.predict(np.array(request.features)).tolist())


async def predict_on_the_loop(request: Request) -> Answer:
    return predict(request)


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


app.post("/predict")(predict_on_the_loop if os.environ.get("BENCH_ASYNC") else predict)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]))
