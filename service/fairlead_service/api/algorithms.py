"""`GET /algorithms`: what can be trained and with which hyperparameters, as the installed packages say."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter

from fairlead_service import errors
from fairlead_service.api.services import Services, Use
from fairlead_service.errors import Problem, openapi_responses
from fairlead_service.observability import logs
from fairlead_service.schemas_train import AlgorithmInfo, Algorithms

_SECONDS: Final = 60.0
_SOON: Final = 5.0
router = APIRouter(tags=["training"])


@dataclass
class Catalogue:
    """Asked of a child process once: only it imports scikit-learn and plug-ins, and packages change with restarts."""

    _asked: "asyncio.Task[Algorithms] | None" = None

    async def get(self, services: Services) -> Algorithms:
        """Raises Problem if the child has no answer; the next call asks again."""
        return await asyncio.shield(self._ask(services))

    async def soon(self, services: Services, seconds: float) -> Algorithms | None:
        """What is known within that time; the next call may know more. Raises Problem."""
        asked = self._ask(services)
        done, _ = await asyncio.wait({asked}, timeout=seconds)
        return asked.result() if done else None

    def _ask(self, services: Services) -> "asyncio.Task[Algorithms]":
        failed = self._asked is not None and self._asked.done() and self._asked.exception() is not None
        if self._asked is None or failed:
            self._asked = asyncio.create_task(_describe(services))
            self._asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # told by `get`
        return self._asked


async def _describe(services: Services) -> Algorithms:
    found = await services.children.run(services.commands.describe, services.limits(_SECONDS, niceness=0))
    return Algorithms.model_validate(found)


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


async def described(services: Services) -> list[AlgorithmInfo] | None:
    """The algorithms for the OpenAPI document, which is worth having at once and without them, too; None if they are
    not known yet."""
    try:
        found = await services.catalogue.soon(services, _SOON)
    except Problem as problem:
        logs.event("log", f"/docs will not describe hyperparameters: {problem.detail}", logging.WARNING)
        return None
    return found.algorithms if found is not None else None
