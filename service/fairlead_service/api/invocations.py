"""MLflow's scoring protocol: `POST /invocations`, `GET /ping`, `GET /version`. `/health` is Fairlead's own."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import APIRouter, Response
from starlette.routing import Route

from fairlead_service.api.services import Services, Use, raw_route
from fairlead_service.errors import (
    BODY_PROBLEMS,
    ModelRefusedInput,
    NoModel,
    Overloaded,
    TooManyRows,
    UnsupportedMediaType,
    openapi_responses,
)
from fairlead_service.inference import invocations
from fairlead_service.inference.body import Headers, check_identity
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.engine import Engine
from fairlead_service.inference.raw import LOOP_BYTES, Call, Reply

PATH: Final = "/invocations"
_JSON, _CSV = b"application/json", b"text/csv"
_LOOP_CSV_BYTES: Final = 2**16
"""It is read cell by cell, which takes five times as long as JSON."""
_TAG: Final = "mlflow scoring protocol"

router = APIRouter(tags=[_TAG])
documented = APIRouter(tags=[_TAG])
"""For the OpenAPI document only: FastAPI can't see into raw endpoints."""


def routes(services: Services) -> list[Route]:
    """The raw endpoint."""
    handle = Invocations(services.engine, services.settings.max_batch_rows)
    return [raw_route(services, PATH, handle, _check_headers)]


class Invocations:
    """Handles the path's calls."""

    def __init__(self, engine: Engine, max_rows: int) -> None:
        self._engine = engine
        self._max_rows = max_rows

    async def __call__(self, call: Call) -> Reply:
        """Raises Problem."""
        serving = self._engine.serving()
        manifest = serving.manifest
        is_csv = _media_type(call.headers) == _CSV
        decode = invocations.decode_csv if is_csv else invocations.decode_json
        within = _LOOP_CSV_BYTES if is_csv else LOOP_BYTES
        decoded = await call.decode(decode, within, manifest, self._max_rows)
        self._engine.ignored(serving, decoded.extra)
        expected = Expected("data", self._max_rows, manifest.n_features, manifest.feature_names)
        try:
            outputs = await self._engine.evaluate(serving, decoded.matrix, decoded.want, expected, call.gone)
        except ModelRefusedInput as error:  # its pointer knows nothing of the body's form
            raise ModelRefusedInput(error.detail) from error
        return Reply(invocations.encode(outputs))


def _media_type(headers: Headers) -> bytes:
    return headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower()


def _check_headers(headers: Headers) -> None:
    """Raises UnsupportedMediaType unless the body is JSON or CSV in UTF-8."""
    value = headers.get(b"content-type", _JSON)
    if value != _JSON:
        charset = value.lower().partition(b"charset=")[2].split(b";")[0].strip(b" \"'")
        if _media_type(headers) not in (_JSON, _CSV) or charset not in (b"", b"utf-8", b"utf8"):
            shown = value.decode("latin-1")[:100]
            raise UnsupportedMediaType(f"Content-Type is {shown!r}; send application/json or text/csv, in UTF-8")
    check_identity(headers)


@cache
def _mlflow_version() -> str:
    try:
        return version("mlflow-skinny")
    except PackageNotFoundError:
        return version("fairlead")


@router.get("/ping", summary="Whether a model serves", response_class=Response, responses=openapi_responses(NoModel))
async def ping(services: Use) -> Response:
    """200 and an empty line if a model serves."""
    services.engine.serving()
    return Response("\n", media_type="application/json")


@router.get(
    "/version",
    summary="The MLflow version whose protocol this is",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def mlflow_version() -> Response:
    return Response(_mlflow_version(), media_type="text/plain")


_ROWS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_RECORDS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "object"}}
_COLUMNS: Final[dict[str, Any]] = {"type": "object", "description": "A list for each column"}
_JSON_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Exactly one of the fields but `params`, which stays empty",
    "properties": {
        "inputs": {"anyOf": [_ROWS, _RECORDS, _COLUMNS]},
        "instances": {"anyOf": [_ROWS, _RECORDS]},
        "dataframe_split": {
            "type": "object",
            "required": ["data"],
            "properties": {"columns": {"type": "array"}, "index": {"type": "array"}, "data": _ROWS},
        },
        "dataframe_records": _RECORDS,
        "params": {"type": "object"},
    },
    "example": {"inputs": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]},
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _JSON_SCHEMA},
            "text/csv": {"schema": {"type": "string", "description": "A header row, then the rows"}},
        },
    }
}
_ANSWER: Final[dict[str, Any]] = {
    "description": "One prediction per row",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array"}}},
            "example": {"predictions": [0, 1]},
        }
    },
}


@documented.post(
    PATH,
    response_class=Response,
    summary="Predict, by MLflow's scoring protocol",
    responses={
        200: _ANSWER,
        **openapi_responses(*BODY_PROBLEMS, TooManyRows, ModelRefusedInput, NoModel, Overloaded),
    },
    openapi_extra=_BODY,
)
def invoke() -> None:
    """The forms of MLflow's own scoring server. Columns with names are matched by them, whatever their order."""
