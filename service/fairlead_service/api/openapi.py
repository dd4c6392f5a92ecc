"""The parts of the OpenAPI document that FastAPI can't see: bodies that routes read themselves, and problem details."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from fairlead_service.api.schemas_v2 import InferRequest, V2Error
from fairlead_service.errors import ProblemDetails
from fairlead_service.schemas import PredictRequest
from fairlead_service.schemas_registry import AliasMove, ModelChange, VersionChange
from fairlead_service.schemas_train import AlgorithmInfo, TrainRequest

_SERVERS: list[dict[str, str | Any]] = [{"url": "."}]
"""Relative to the document, which may be behind a proxy that takes a prefix off the path."""
_REF = "#/components/schemas/{model}"
_DOCUMENTED: tuple[type[BaseModel], ...] = (
    ProblemDetails, PredictRequest, TrainRequest, ModelChange, VersionChange, AliasMove, InferRequest, V2Error,
)  # fmt: skip


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads a body of this shape by itself."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def train_body() -> dict[str, Any]:
    """`json_body` of a training, or the same without data beside a file."""
    found = json_body(TrainRequest)
    request = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "As the JSON body, without data",
    }
    file = {"type": "string", "format": "binary", "description": "CSV with a header line in UTF-8, or Parquet"}
    parts = {"type": "object", "properties": {"request": request, "file": file}, "required": ["request", "file"]}
    found["requestBody"]["content"]["multipart/form-data"] = {"schema": parts}
    return found


def document(app: FastAPI, documented: Sequence[BaseRoute]) -> dict[str, Any]:
    """The application's OpenAPI document, made once; `documented` describe the raw endpoints among its routes."""
    if app.openapi_schema is None:
        routes = [*documented, *app.routes]
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=routes, servers=_SERVERS
        )
        _, definitions = models_json_schema([(model, "validation") for model in _DOCUMENTED], ref_template=_REF)
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(definitions["$defs"])
        components.pop("HTTPValidationError", None)
        components.pop("ValidationError", None)
        app.openapi_schema = schema
    return app.openapi_schema


def with_algorithms(document: Mapping[str, Any], algorithms: Sequence[AlgorithmInfo]) -> dict[str, Any]:
    """The document in which `hyperparameters` of a training are those of one of the algorithms."""
    found = deepcopy(dict(document))
    schemas = found["components"]["schemas"]
    choices: list[dict[str, Any]] = []
    for algorithm in algorithms:
        if algorithm.hyperparameters is None:
            choices.append({"type": "object", "title": algorithm.name})
        else:
            name = f"hyperparameters_{algorithm.name}"
            schemas[name] = algorithm.hyperparameters | {"title": algorithm.name}
            choices.append({"$ref": _REF.format(model=name)})
    if choices:
        properties = schemas["TrainRequest"]["properties"]
        properties["hyperparameters"] = {
            name: value for name, value in properties["hyperparameters"].items() if name != "additionalProperties"
        } | {"anyOf": choices}
        properties["algorithm"]["examples"] = [algorithm.name for algorithm in algorithms]
    return found
