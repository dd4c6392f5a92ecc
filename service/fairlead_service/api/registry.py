"""`/models` and `/runs`: what MLflow's registry and tracking have, and the changes that deployments follow."""

from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ValidationError

from fairlead_service import errors, patterns, registry
from fairlead_service.api.openapi import json_body
from fairlead_service.api.services import Services, Use, client_address
from fairlead_service.api.train_request import invalid_from
from fairlead_service.contract import SEMANTIC_VERSION_TAG
from fairlead_service.errors import BODY_PROBLEMS, MalformedBody, openapi_responses
from fairlead_service.inference.body import check_json, read_body
from fairlead_service.observability import logs
from fairlead_service.schemas import Alias, ModelName
from fairlead_service.schemas_registry import (
    AliasMove,
    ModelChange,
    ModelDetails,
    RegisteredModel,
    RegisteredModels,
    Run,
    Runs,
    VersionChange,
    VersionNumber,
    of_model,
    of_run,
    of_version,
)

_AWAY: Final = (errors.QueueFull, errors.TrackingServerUnavailable, errors.ShuttingDown)
_READ: Final = openapi_responses(errors.RegistryNotFound, errors.InvalidInput, *_AWAY)
_WRITE: Final = openapi_responses(*BODY_PROBLEMS, errors.RegistryNotFound, errors.AlreadyTaken, *_AWAY)
_BODY_BYTES: Final = 2**20
T = TypeVar("T", bound=BaseModel)

router = APIRouter(tags=["registry"])

Name = Annotated[ModelName, PathParameter(description="A registered model")]
Version = Annotated[VersionNumber, PathParameter(description="Its number")]
AliasName = Annotated[Alias, PathParameter(description="An alias of the model, such as champion")]
Page = Annotated[str | None, Query(description="`next_page_token` of the answer before", max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many in one answer")]
RunIds = Annotated[list[Annotated[str, Query(pattern=patterns.RUN_ID)]], Query(max_length=50, description="Just these")]


@router.get("/models", summary="Registered models", response_model_exclude_none=True, responses=_READ)
async def models(services: Use, limit: Limit = 50, page_token: Page = None) -> RegisteredModels:
    """With the versions that their aliases point at."""
    found = await services.registry.call(lambda client: registry.models(client, limit, page_token))
    listed = [RegisteredModel.model_validate(of_model(entry)) for entry in found.get("registered_models", [])]
    return RegisteredModels(models=listed, next_page_token=found.get("next_page_token") or None)


@router.get("/models/{name}", summary="One model's versions", response_model_exclude_none=True, responses=_READ)
async def model(name: Name, services: Use) -> ModelDetails:
    """With semantic versions, aliases, descriptions and the runs that they come from."""
    return await _details(services, name)


@router.patch(
    "/models/{name}",
    summary="Describe a model",
    response_model_exclude_none=True,
    responses=_WRITE,
    openapi_extra=json_body(ModelChange),
)
async def describe(name: Name, request: Request, services: Use) -> ModelDetails:
    change = await _body(request, services, ModelChange)
    await services.registry.call(lambda client: registry.describe(client, name, change.description))
    logs.audit("describe", "succeeded", client_address(request), model_name=name)
    return await _details(services, name)


@router.patch(
    "/models/{name}/versions/{version}",
    summary="Describe, tag or number a version",
    response_model_exclude_none=True,
    responses=_WRITE,
    openapi_extra=json_body(VersionChange),
)
async def change_version(name: Name, version: Version, request: Request, services: Use) -> ModelDetails:
    """What is left out stays. A semantic version belongs to one version of a model."""
    change = await _body(request, services, VersionChange)
    tags = dict(change.tags)
    if change.semantic_version is not None:
        tags[SEMANTIC_VERSION_TAG] = change.semantic_version
    await services.registry.call(
        lambda client: registry.change_version(client, name, version, change.description, tags)
    )
    told = {"model_name": name, "model_version": version, "semantic_version": change.semantic_version}
    logs.audit("describe", "succeeded", client_address(request), **told, tags=sorted(tags))
    return await _details(services, name)


@router.put(
    "/models/{name}/aliases/{alias}",
    summary="Move an alias",
    response_model_exclude_none=True,
    responses=_WRITE,
    openapi_extra=json_body(AliasMove),
)
async def move_alias(name: Name, alias: AliasName, request: Request, services: Use) -> ModelDetails:
    """To a version by its number or its semantic version. A ModelDeployment that follows the alias rolls to it."""
    move = await _body(request, services, AliasMove)
    before, now = await services.registry.call(
        lambda client: registry.move_alias(client, name, alias, move.version, move.semantic_version)
    )
    told = {"model_name": name, "alias": alias, "model_version": now, "previous_version": before}
    logs.audit("move-alias", "succeeded", client_address(request), **told)
    return await _details(services, name)


@router.delete(
    "/models/{name}/aliases/{alias}",
    summary="Remove an alias",
    response_model_exclude_none=True,
    responses=openapi_responses(errors.RegistryNotFound, errors.InvalidInput, errors.TrackingServerUnavailable),
)
async def remove_alias(name: Name, alias: AliasName, request: Request, services: Use) -> ModelDetails:
    """What follows it keeps what it serves, and says that the alias is gone."""
    await services.registry.call(lambda client: registry.remove_alias(client, name, alias))
    logs.audit("remove-alias", "succeeded", client_address(request), model_name=name, alias=alias)
    return await _details(services, name)


@router.get("/runs", summary="Compare runs", response_model_exclude_none=True, responses=_READ)
async def runs(
    services: Use,
    run_id: RunIds = [],  # noqa: B006 (FastAPI copies it)
    experiment: Annotated[str, Query(max_length=250, description="Its name in MLflow")] = "fairlead",
    filter: Annotated[str, Query(max_length=2000, description="As MLflow's: `metrics.accuracy > 0.9`")] = "",
    order_by: Annotated[str, Query(max_length=250, description="`metrics.f1 DESC`")] = "attributes.start_time DESC",
    limit: Limit = 20,
    page_token: Page = None,
) -> Runs:
    """Parameters and metrics side by side: of the runs named by `run_id`, or of an experiment's runs."""
    if run_id:
        found = await services.registry.call(lambda client: registry.runs_by_id(client, run_id))
        return Runs(runs=[Run.model_validate(of_run(entry)) for entry in found])
    search: dict[str, Any] = {"filter": filter, "order_by": [order_by], "max_results": limit}
    if page_token is not None:
        search["page_token"] = page_token
    answer = await services.registry.call(lambda client: registry.runs(client, experiment, search))
    listed = [Run.model_validate(of_run(entry)) for entry in answer.get("runs", [])]
    return Runs(runs=listed, next_page_token=answer.get("next_page_token") or None)


async def _body(request: Request, services: Services, kind: type[T]) -> T:
    """Read here, because FastAPI reads a body of any length. Raises Problem."""
    headers, seconds = dict(request.scope["headers"]), services.settings.body_timeout_seconds
    check_json(headers)
    content = await read_body(headers, request.receive, limit=_BODY_BYTES, seconds=seconds)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise MalformedBody(f"the body is no JSON: {first['msg']}") from None
        raise invalid_from(error) from None


async def _details(services: Services, name: str) -> ModelDetails:
    found, versions = await services.registry.call(lambda client: registry.model(client, name))
    fields = of_model(found)
    listed = [of_version(version, fields["aliases"]) for version in versions]
    return ModelDetails.model_validate(fields | {"versions": listed})
