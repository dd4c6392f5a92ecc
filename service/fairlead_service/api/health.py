"""`/health` and the two probes of Kubernetes."""

from importlib.metadata import version

from fastapi import APIRouter

from fairlead_service import contract
from fairlead_service.api.services import Use
from fairlead_service.errors import NotReady, openapi_responses
from fairlead_service.schemas import Health, Live, Ready

_VERSION = version("fairlead")
router = APIRouter(tags=["health"])


@router.get("/health", summary="What this server is and how it is")
async def health(services: Use) -> Health:
    serving = services.slot.current
    return Health(
        status="draining" if services.drain.active else "ok" if serving is not None else "no-model",
        role=services.settings.role,
        version=_VERSION,
        model_loaded=serving is not None,
        run_id=serving.run_id if serving is not None else None,
        uptime_seconds=services.uptime_seconds,
    )


@router.get(contract.LIVE_PATH, summary="Whether the process answers")
async def live() -> Live:
    return Live()


@router.get(contract.READY_PATH, summary="Whether to send traffic here", responses=openapi_responses(NotReady))
async def ready(services: Use) -> Ready:
    """A predictor is ready when its model has answered its input example; an API server as soon as it runs. Either has
    asked its identity provider for keys before, if it has one."""
    services.check_takes_requests()
    serving = services.slot.current
    if serving is None and services.settings.role == contract.ROLE_PREDICTOR:
        raise NotReady("the model is not loaded yet")
    return Ready(model_loaded=serving is not None, run_id=serving.run_id if serving is not None else None)
