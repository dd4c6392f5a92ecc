"""`GET /algorithms`: what can be trained and with which hyperparameters, as the installed packages say."""

import asyncio
import logging
from dataclasses import dataclass, field

from fastapi import APIRouter

from fairlead_service import errors
from fairlead_service.api.services import Services, Use
from fairlead_service.errors import Problem, openapi_responses
from fairlead_service.jobs import Limits
from fairlead_service.observability import logs
from fairlead_service.schemas_train import AlgorithmInfo, Algorithms

_SECONDS = 60.0
router = APIRouter(tags=["training"])


@dataclass
class Catalogue:
    """Asked of a child process once: only it imports scikit-learn and plug-ins, and packages change with restarts."""

    _known: Algorithms | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self, services: Services) -> Algorithms:
        """Raises Problem if the child has no answer; the next call asks again."""
        async with self._asking:
            if self._known is None:
                settings = services.settings
                limits = Limits(_SECONDS, settings.child_grace_seconds, 0, settings.child_memory_bytes)
                self._known = Algorithms.model_validate(await services.children.run(services.commands.describe, limits))
            return self._known


@router.get(
    "/algorithms",
    summary="What can be trained",
    response_model_exclude_none=True,
    responses=openapi_responses(
        errors.ChildCrashed, errors.TrainingFailed, errors.ShuttingDown, errors.ChildTimedOut, errors.InternalError
    ),
)
async def algorithms(services: Use) -> Algorithms:
    """Algorithms with the JSON Schemas of their hyperparameters, and metrics: those that come with Fairlead, and those
    that installed packages add (entry points `fairlead.algorithms` and `fairlead.metrics`)."""
    return await services.catalogue.get(services)


async def described(services: Services) -> list[AlgorithmInfo]:
    """The algorithms for the OpenAPI document, which is worth having without them, too."""
    try:
        return (await services.catalogue.get(services)).algorithms
    except Problem as problem:
        logs.event("log", f"/docs will not describe hyperparameters: {problem.detail}", logging.WARNING)
        return []
