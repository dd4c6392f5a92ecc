"""Kopf's side: decorators only. An event of a ModelDeployment goes into the store and its key on the queue; nothing is
decided here. What belongs to them is watched by `owned`.

Only low-level event handlers are registered: they make Kopf write nothing, no finalizer and no annotation.
"""

from typing import Any

import kopf

from fairlead_operator.controller import Controller
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.kube import PAGE


class NoProgress(kopf.ProgressStorage):
    """Kopf's notes about handlers that run: there are none to keep, and no place on the objects to keep them."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...

    def purge(self, **_: Any) -> None: ...

    def touch(self, **_: Any) -> None: ...

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class NoDiff(kopf.DiffBaseStorage):
    """Kopf's last seen state: not kept. It would also be copied three times at each event, half of all CPU time."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf watches ModelDeployments and does nothing else."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events are on transitions, not on log lines
    settings.scanning.disabled = True  # no rights on CRDs and namespaces needed
    settings.peering.standalone = True  # somebody else's peering object must not pause us
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiff()
    settings.watching.server_timeout = 300  # load balancers cut silent streams without a word
    settings.watching.client_timeout = 310
    settings.watching.chunk_size = PAGE  # else a restart holds all of them in memory at once, in full
    settings.queueing.idle_timeout = 1  # a task for each object that changed: let it go soon
    return settings


def register(registry: kopf.OperatorRegistry, controller: Controller) -> None:
    """Makes every event of a ModelDeployment known to the controller."""

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        """As the client library does, but without loading its synchronous half (40 MB)."""
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    resource = MODEL_DEPLOYMENT

    @kopf.on.event(resource.group, resource.version, resource.plural, id=resource.plural, registry=registry)
    async def observed(event: kopf.RawEvent, **_: Any) -> None:
        controller.observed(resource, event["type"], dict(event["object"]))
