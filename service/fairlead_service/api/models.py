"""`GET /model/info` for both roles; `POST /model/load/{run_id}` for role api, and for predictors that swap models."""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter

from fairlead_service import contract, errors, patterns
from fairlead_service.api import loads
from fairlead_service.api.authorization import authorized
from fairlead_service.api.services import Use, client_address
from fairlead_service.errors import NoModel, openapi_responses
from fairlead_service.inference.engine import NO_MODEL
from fairlead_service.models.bundle import Manifest
from fairlead_service.models.wanted import Wanted
from fairlead_service.schemas import LoadBegun, LoadResponse, ModelInfo, ModelName

_BEGUN: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": LoadBegun, "description": "It is being loaded; `/model/info` says how far it is"}
}
info_router = APIRouter(tags=["model"])
load_router = APIRouter(tags=["model"])

RunId = Annotated[
    str,
    PathParameter(
        description="An MLflow run's id, 32 hexadecimal digits, or a logged model's, `m-` and 32 of them",
        json_schema_extra={"pattern": patterns.IDENTITY},
        examples=["6f2c1d0e9b3a4c5d8e7f60718293a4b5"],
    ),
]
ModelUri = Annotated[
    str | None,
    Query(
        description="Which of the run's models, as `runs:/…` or `models:/…`; left out: the only one, or `model`",
        max_length=1000,
        pattern=patterns.MODEL_URI,
    ),
]
Named = Annotated[ModelName | None, Query(description="The registered model, for the record and for answers")]
Numbered = Annotated[str | None, Query(description="Its version", pattern=patterns.VERSION_NUMBER)]
Wait = Annotated[bool, Query(description="Whether to answer only when the model serves")]


@info_router.get(
    contract.INFO_PATH,
    summary="The model that serves now",
    response_model=ModelInfo,
    responses=openapi_responses(NoModel),
)
async def info(services: Use) -> Response:
    """Where it comes from, what it takes and answers, with what it was trained, what was checked at its load; and what
    is being loaded in its place."""
    serving = services.slot.current
    if serving is None:
        raise NoModel(NO_MODEL)
    manifest, state, previous = serving.manifest, services.load_state, services.slot.previous
    progress = None if state.running and state.running.is_of(manifest.identity) else state.progress()
    found = {
        **{name: getattr(manifest, name) for name in Manifest.model_fields},
        "run_id": manifest.identity.run_id,
        "model_uri": manifest.identity.model_uri,
        "model_id": manifest.identity.model_id,
        "model_name": manifest.identity.name,
        "model_version": manifest.identity.version,
        "backend": serving.backend.name,
        "loaded_at": serving.loaded_at,
        "has_drift_reference": manifest.knows_training,
        "previous": previous.run_id if previous is not None else None,
        "loading": dict(zip(("run_id", "stage"), progress, strict=True)) if progress is not None else None,
        "failed_load": state.failed,
    }
    return Response(await asyncio.to_thread(_render, found), media_type="application/json")


def _render(found: Mapping[str, Any]) -> str:
    """`schemas.ModelInfo`; of a wide model, with its names, signature and example, that takes some milliseconds."""
    return ModelInfo.model_validate(found, from_attributes=True).model_dump_json()


@load_router.post(
    contract.LOAD_PATH,
    summary="Serve the model of a run",
    dependencies=[Depends(authorized)],
    response_model=LoadResponse,
    responses=_BEGUN
    | openapi_responses(
        errors.Unauthorized,
        errors.ModelNotFound,
        errors.InvalidInput,
        errors.ModelCorrupt,
        errors.ModelRefused,
        errors.ModelUnsupported,
        errors.VersionMismatch,
        errors.SelfTestFailed,
        errors.QueueFull,
        errors.InternalError,
        errors.ChildCrashed,
        errors.LoadFailed,
        errors.TrackingServerUnavailable,
        errors.ShuttingDown,
        errors.ChildTimedOut,
        errors.DiskFull,
    ),
)
async def load(
    run_id: RunId,
    request: Request,
    services: Use,
    model_uri: ModelUri = None,
    model_name: Named = None,
    model_version: Numbered = None,
    wait: Wait = True,
) -> LoadResponse | Response:
    """Fetches the run's model from MLflow, checks and builds it in a process of its own, and serves it.

    The model that served before goes on serving until the new one has answered its own input example, and after that
    if anything of it fails. Loads are done one after the other; loading what already serves does nothing.

    With `wait=false` the load is begun in place of the one that was begun so before. Predictors have this path only
    with `FAIRLEAD_HOT_SWAP`; they keep the model that served before, and loading it again takes no time.
    """
    if not re.fullmatch(patterns.IDENTITY, run_id):
        raise errors.InvalidInput(
            f"{run_id[:100]!r} is no run id; send the 32 hexadecimal digits that MLflow shows, or m- and those of a "
            "logged model"
        )
    wanted = Wanted(run_id, model_uri, model_name, model_version)
    if wait:
        return await loads.load(services, wanted, client_address(request))
    answer = await loads.begin(services, wanted, client_address(request))
    if answer is not None:
        return answer
    return Response(LoadBegun(run_id=run_id).model_dump_json(), 202, media_type="application/json")
