"""`POST /predict`: the raw endpoint, and what OpenAPI says of it."""

from fastapi import APIRouter
from starlette.routing import Route

from fairlead_service.api.openapi import json_body
from fairlead_service.api.services import Services, raw_route
from fairlead_service.errors import (
    BODY_PROBLEMS,
    ModelRefusedInput,
    NoModel,
    Overloaded,
    TooManyRows,
    openapi_responses,
)
from fairlead_service.inference.body import check_json
from fairlead_service.inference.predict import Predict
from fairlead_service.schemas import PredictRequest, PredictResponse

PATH = "/predict"
documented = APIRouter(tags=["prediction"])
"""For the OpenAPI document only: FastAPI can't see into raw endpoints."""


def routes(services: Services) -> list[Route]:
    """What is mounted in the application's routing."""
    return [raw_route(services, PATH, Predict(services.engine, services.settings.max_batch_rows), check_json)]


@documented.post(
    PATH,
    response_model=PredictResponse,
    summary="Predict one row or many",
    responses=openapi_responses(*BODY_PROBLEMS, TooManyRows, ModelRefusedInput, NoModel, Overloaded),
    openapi_extra=json_body(PredictRequest),
)
def predict() -> None:
    """Predictions of the model that serves now. All predictions of an answer are of the one run it names.

    Rows are lists of numbers in the order of the model's features, or objects with the features' names; `null` is a
    missing value, for models that take them. Long answers are compressed if `Accept-Encoding` has gzip.
    """
