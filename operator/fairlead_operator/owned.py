"""Watches owned objects and pods: one stream a kind, and nothing kept of what went through it.

Kopf's watch of a kind ends the process when the kind goes away and does not begin when it comes, and it keeps notes of
every object it ever saw.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

from fairlead_operator.api import Manifest
from fairlead_operator.groups import Groups
from fairlead_operator.kinds import Kind
from fairlead_operator.kube import KubeError, NotFoundError

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)
"""After the first, second, … failure in a row; the last one goes on."""
PAUSE_SECONDS: Final = 1.0
"""From one stream's beginning to the next one's, at least: of a kind that is being deleted they end at once."""

Listed = Callable[[Kind, str], Awaitable[str]]
"""Takes in all there is of a kind in a namespace, and returns the list's version."""
Observed = Callable[[Kind, str | None, Manifest], None]


class Streams(Protocol):
    def watch(self, kind: Kind, namespace: str, since: str) -> AsyncIterator[dict[str, Any]]: ...


async def follow(
    kind: Kind, namespace: str, kube: Streams, groups: Groups, listed: Listed, observed: Observed, since: str = ""
) -> None:
    """Hands over every event of a kind in a namespace (empty: in all) after a version, again and again; of a kind that
    a cluster may not have, for as long as it is there.

    Without a version it begins with a list: a stream that begins with all there is does not tell what is there no more.
    """
    failures = 0
    while True:
        if kind.optional:
            await groups.appears(kind.group)
        began = time.monotonic()
        try:
            since = since or await listed(kind, namespace)
            async for event in kube.watch(kind, namespace, since):
                failures = 0
                if event["type"] == "ERROR":  # what happened since then is not known any more: all anew
                    since = ""
                    break
                since = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    observed(kind, event["type"], event["object"])
        except KubeError as error:
            if kind.optional and isinstance(error, NotFoundError):
                groups.lost(kind.group)
                since = ""
                continue
            if error.status == HTTPStatus.GONE:
                since = ""
            if not failures:
                logger.warning("%s are not watched, which is tried again: %s", kind.plural, error)
        except Exception:  # nobody else would ever watch them again
            logger.exception("%s are not watched, which is tried again", kind.plural)
            since = ""
        else:
            await asyncio.sleep(max(0.0, began + PAUSE_SECONDS - time.monotonic()))
            continue
        await asyncio.sleep(AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS) - 1)])
        failures += 1
