"""Open Inference Protocol V2 over HTTP: `/v2`. Inference by raw endpoints, health and metadata by FastAPI's routes.

Clients of the protocol expect errors as `{"error": "…"}` in application/json: the problem details here have that
member too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from itertools import chain
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable
from starlette.routing import Match, Route

from fairlead_service.api.openapi import json_body
from fairlead_service.api.schemas_v2 import (
    IndexEntry,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    openapi_errors,
)
from fairlead_service.api.services import Services, Use, raw_route
from fairlead_service.errors import (
    BodyTimeout,
    BodyTooLarge,
    InternalError,
    MalformedBody,
    MethodNotAllowed,
    ModelRefusedInput,
    NoModel,
    NotFound,
    NotReady,
    Overloaded,
    Problem,
    TooManyRows,
    UnsupportedMediaType,
)
from fairlead_service.head_requests import allowed
from fairlead_service.inference import v2, v2_answers
from fairlead_service.inference.body import Headers, check_identity, check_json
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.engine import Engine
from fairlead_service.inference.raw import LOOP_BYTES, Call, Reply, is_long, problem_reply
from fairlead_service.inference.tensors import InvalidTensor
from fairlead_service.inference.v2_answers import OtherModel
from fairlead_service.models.bundle import Manifest

MODEL: Final = "/v2/models/{name}"
VERSION: Final = "/v2/models/{name}/versions/{version}"
_OTHERS: Final = "/v2/{path:path}"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_LENGTH: Final = b"inference-header-content-length"
_TAG: Final = "open inference protocol v2"
_INFER_ERRORS: Final = openapi_errors(
    InvalidTensor,
    MalformedBody,
    OtherModel,
    BodyTimeout,
    BodyTooLarge,
    TooManyRows,
    UnsupportedMediaType,
    InternalError,
    NoModel,
    Overloaded,
)
_NAME: Final[dict[str, Any]] = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The registered name, the run id, or `model` for whatever serves",
}
_VERSION: Final = _NAME | {"name": "version", "description": "The registered version, or the run id"}
_PARAMETERS: Final = {MODEL: {"parameters": [_NAME]}, VERSION: {"parameters": [_NAME, _VERSION]}}
_BODY: Final = json_body(InferRequest)
_BODY["requestBody"]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}


class _V2Route(APIRoute):
    """Answers problems in the protocol's form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                body = _with_error(problem.body(request.state.request_id))
                return Response(body, problem.status, problem.headers, "application/json")

        return answer


router = APIRouter(tags=[_TAG], route_class=_V2Route)
documented = APIRouter(tags=[_TAG])
"""For the OpenAPI document only: FastAPI can't see into raw endpoints."""


def routes(services: Services) -> list[Route]:
    """The raw endpoints."""
    handle = Infer(services.engine, services.settings.max_batch_rows)
    return [raw_route(services, f"{path}/infer", handle, _check_headers, _refuse) for path in (MODEL, VERSION)]


class Infer:
    """Handles inference calls of both paths."""

    def __init__(self, engine: Engine, max_rows: int) -> None:
        self._engine = engine
        self._max_rows = max_rows

    async def __call__(self, call: Call) -> Reply:
        """Raises Problem."""
        serving = self._engine.serving()
        manifest = serving.manifest
        v2_answers.check_model(manifest, call.parameters["name"], call.parameters.get("version"))
        request = await self._decode(call, manifest)
        self._engine.ignored(serving, request.extra)
        expected = Expected("inputs", self._max_rows, manifest.n_features, manifest.feature_names)
        try:
            outputs = await self._engine.evaluate(serving, request.matrix, request.want, expected, call.gone)
        except ModelRefusedInput as error:
            raise InvalidTensor(error.detail) from error
        if is_long(outputs):
            body, json_length = await asyncio.to_thread(v2_answers.encode, outputs, request, manifest)
        else:
            body, json_length = v2_answers.encode(outputs, request, manifest)
        if json_length is None:
            return Reply(body)
        headers = ((_LENGTH, b"%d" % json_length),)
        return Reply(body, b"application/octet-stream", headers=headers)

    async def _decode(self, call: Call, manifest: Manifest) -> v2.InferRequest:
        """Tensors in binary are left to numpy, which lets others run meanwhile."""
        length = call.headers.get(_LENGTH)
        if len(call.body) >= LOOP_BYTES and length is not None and v2.json_length(length, call.body) < LOOP_BYTES:
            return await asyncio.to_thread(v2.decode, call.body, length, manifest, self._max_rows)
        return await call.decode(v2.decode, LOOP_BYTES, length, manifest, self._max_rows)


def _refuse(problem: Problem, request_id: str) -> Reply:
    reply = problem_reply(problem, request_id)
    reply.body, reply.content_type = _with_error(reply.body), b"application/json"
    return reply


def _with_error(body: bytes) -> bytes:
    problem = orjson.loads(body)
    return orjson.dumps({"error": problem["detail"], **problem})


def _check_headers(headers: Headers) -> None:
    """JSON, or JSON and binary data, which has any type but says its length. Raises UnsupportedMediaType."""
    if _LENGTH in headers:
        check_identity(headers)
    else:
        check_json(headers)


@router.get("/v2", summary="What this server is")
async def server_metadata() -> ServerMetadata:
    return ServerMetadata(name="fairlead", version=version("fairlead"), extensions=list(v2_answers.EXTENSIONS))


@router.get("/v2/health/live", summary="Whether the process answers")
async def live() -> ServerLive:
    return ServerLive()


@router.get("/v2/health/ready", summary="Whether inference requests are answered", responses=openapi_errors(NotReady))
async def ready(services: Use) -> ServerReady:
    _check_ready(services)
    return ServerReady()


def _get(
    template: str, more: str, summary: str, *kinds: type[Problem]
) -> Callable[[DecoratedCallable], DecoratedCallable]:
    """A route for a model or for a version of it, which reads its path itself: any text is right there."""
    extra = _PARAMETERS[template]
    return router.get(
        template + more,
        summary=summary,
        responses=openapi_errors(*kinds),
        response_model_exclude_none=True,
        openapi_extra=extra,
    )


@_get(VERSION, "/ready", "Whether this version serves", OtherModel, NotReady)
@_get(MODEL, "/ready", "Whether this model serves", OtherModel, NotReady)
async def model_ready(services: Use, request: Request) -> ModelReady:
    _check_ready(services)
    _manifest(services, request)
    return ModelReady(name=request.path_params["name"])


@_get(VERSION, "", "Tensors of this version", OtherModel, NoModel)
@_get(MODEL, "", "Tensors that the model takes and answers", OtherModel, NoModel)
async def model_metadata(services: Use, request: Request) -> ModelMetadata:
    return ModelMetadata.model_validate(v2_answers.metadata(_manifest(services, request)))


def _manifest(services: Services, request: Request) -> Manifest:
    """Of the model that serves, if it is the one that the path names. Raises NoModel, OtherModel."""
    manifest = services.engine.serving().manifest
    v2_answers.check_model(manifest, request.path_params["name"], request.path_params.get("version"))
    return manifest


@router.post("/v2/repository/index", summary="The model that serves, as a list")
async def repository_index(services: Use) -> list[IndexEntry]:
    """Triton's extension; whatever the body says is ignored."""
    serving = services.slot.current
    if serving is None:
        return []
    manifest = serving.manifest
    return [IndexEntry(name=v2_answers.served_name(manifest), version=v2_answers.served_version(manifest))]


@router.api_route(_OTHERS, methods=_METHODS, include_in_schema=False)
async def others(request: Request) -> None:
    """Whatever else the protocol's extensions have: clients understand no other form of 404 and 405. The last of the
    protocol's routes."""
    path = request.url.path[:200]
    routes = [route for route in (*router.routes, *request.app.routes) if isinstance(route, Route)]
    partial = [route.methods or () for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    if methods := set(chain.from_iterable(partial)):
        shown = allowed(", ".join(methods))
        raise MethodNotAllowed(f"{path} does not take {request.method}; send {shown}", headers={"Allow": shown})
    raise NotFound(f"{request.method} {path} is not supported; /docs lists what is")


def _check_ready(services: Services) -> None:
    services.check_takes_requests()
    if services.slot.current is None:
        raise NotReady("no model is loaded")


def infer() -> None:
    """One input of shape [rows, features], or one of shape [rows] for each feature, by its name. Outputs: `predict`,
    and if asked for `predict_proba` and `decision_function`. Tensors in JSON, or in binary after the JSON."""


for _template, _summary in ((MODEL, "Infer by the model"), (VERSION, "Infer by this version of the model")):
    documented.post(
        f"{_template}/infer",
        response_model=InferResponse,
        summary=_summary,
        responses=_INFER_ERRORS,
        openapi_extra=_PARAMETERS[_template] | _BODY,
    )(infer)
