"""Kopf's side: decorators only. An event goes into the store and its key on the queue; nothing is decided here.

Only low-level event handlers are registered: they make Kopf write nothing, no finalizer and no annotation.
"""

from typing import Any

import kopf

from fairlead_operator.controller import Controller
from fairlead_operator.kinds import WATCHED, Kind


def register(registry: kopf.OperatorRegistry, controller: Controller) -> None:
    """Makes every event of what is watched known to the controller."""

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        """As the client library does, but without loading its synchronous half (40 MB)."""
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    for kind in WATCHED:
        _watch(registry, controller, kind)


def _watch(registry: kopf.OperatorRegistry, controller: Controller, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)
    async def observed(event: kopf.RawEvent, **_: Any) -> None:
        controller.observed(kind, event["type"], dict(event["object"]))
