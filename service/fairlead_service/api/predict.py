"""`POST /predict`."""

from fastapi import APIRouter, Request, Response

from fairlead_service.api.openapi import json_body
from fairlead_service.api.services import Use
from fairlead_service.errors import BODY_PROBLEMS, ModelRefusedInput, NoModel, TooManyRows, openapi_responses
from fairlead_service.inference.body import read_json_body
from fairlead_service.schemas import PredictRequest, PredictResponse

router = APIRouter(tags=["prediction"])


@router.post(
    "/predict",
    response_model=PredictResponse,
    summary="Predict one row or many",
    responses=openapi_responses(*BODY_PROBLEMS, TooManyRows, ModelRefusedInput, NoModel),
    openapi_extra=json_body(PredictRequest),
)
async def predict(request: Request, services: Use) -> Response:
    """Predictions of the model that serves now. All predictions of an answer are of the one run it names."""
    settings = services.settings
    body = await read_json_body(
        request.scope, request.receive, limit=settings.max_body_bytes, seconds=settings.body_timeout_seconds
    )
    return Response(await services.predict(body), media_type="application/json")
