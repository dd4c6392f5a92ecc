"""Which model somebody wants to be loaded, how far that is, and why it failed: what is known of loads."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fairlead_service.contract import FailureReason
from fairlead_service.models.bundle import Identity

SERVE: Final = "serve"
"""The stage in which nothing can stop a load any more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run's model, or a logged model; what else is given must be true of it as well."""

    run_id: str
    """A logged model's own id (`m-…`) stands for it, too."""
    model_uri: str | None = None
    name: str | None = None
    version: str | None = None

    @property
    def uri(self) -> str:
        """What the loader is asked for."""
        return self.model_uri or (f"models:/{self.run_id}" if self.run_id.startswith("m-") else f"runs:/{self.run_id}")

    def is_of(self, identity: Identity) -> bool:
        """Whether a model that was loaded before is surely the wanted one. An alias may mean another one by now."""
        registered = f"models:/{identity.name}/{identity.version}"
        known = {None, identity.model_uri, f"models:/{identity.model_id}", registered}
        return (
            self.run_id in (identity.run_id, identity.model_id)
            and self.model_uri in known
            and self.name in (None, identity.name)
            and self.version in (None, identity.version)
        )


@dataclass(frozen=True, slots=True)
class FailedLoad:
    run_id: str
    reason: FailureReason
    message: str
    at: datetime


@dataclass(slots=True)
class LoadState:
    """Used by the event loop's thread only."""

    running: Wanted | None = None
    stage: str = ""
    """Of the one that runs: the loader's own, then SERVE."""
    failed: FailedLoad | None = None
    """The last load, if it failed."""
    begun: Wanted | None = None
    """The last one that nobody waits for."""
    task: "asyncio.Task[Any] | None" = None

    @property
    def pending(self) -> bool:
        """Whether the one that nobody waits for is not done yet."""
        return self.task is not None and not self.task.done()

    @property
    def stoppable(self) -> bool:
        """Whether it can still be given up without a trace."""
        return self.pending and not (self.running == self.begun and self.stage == SERVE)

    def progress(self) -> tuple[str, str] | None:
        """Run and stage of the load that runs, or that waits for one that nobody can stop."""
        if self.running is not None:
            return self.running.run_id, self.stage
        return (self.begun.run_id, "waiting") if self.begun is not None and self.pending else None
