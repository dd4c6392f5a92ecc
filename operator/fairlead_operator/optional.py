"""Watches what a cluster may not have. Kopf's watch of a kind ends the process when the kind goes away, and does not
begin when it comes; this one waits for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from fairlead_operator.api import Manifest
from fairlead_operator.groups import Groups
from fairlead_operator.kinds import Kind
from fairlead_operator.kube import KubeError, NotFoundError

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
"""Between two streams: of a kind that is being deleted they end at once."""

Listed = Callable[[Kind], Awaitable[int]]
"""Takes in all there is of a kind, and returns the list's version."""
Observed = Callable[[Kind, str | None, Manifest], None]


class Streams(Protocol):
    def watch(self, kind: Kind, namespace: str, since: str) -> AsyncIterator[dict[str, Any]]: ...


async def follow(kind: Kind, namespace: str, kube: Streams, groups: Groups, listed: Listed, observed: Observed) -> None:
    """Hands over every event of a kind in a namespace (empty: in all), for as long as it is there, again and again.

    Begins with a list: a stream that begins with all there is does not tell what is there no more.
    """
    since = ""
    while True:
        await groups.appears(kind.group)
        try:
            since = since or str(await listed(kind))
            async for event in kube.watch(kind, namespace, since):
                if event["type"] == "ERROR":  # what happened since then is not known any more: all anew
                    since = ""
                    break
                since = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    observed(kind, event["type"], event["object"])
            await asyncio.sleep(PAUSE_SECONDS)
        except NotFoundError:
            groups.lost(kind.group)
            since = ""
        except KubeError as error:
            logger.debug("%s are not watched: %s", kind.plural, error)
            await asyncio.sleep(AGAIN_SECONDS)
