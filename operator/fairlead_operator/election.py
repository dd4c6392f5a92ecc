"""Leader election by a Lease (coordination.k8s.io): of several replicas one works, and the others wait to take over.

As client-go does it: a replica that waits does not compare clocks with the leader. It takes the Lease over once it has
seen no renewal for as long as the Lease lasts, by its own clock; the API server lets only one such write win. A leader
that cannot renew stops before the Lease has run out, and its client refuses every write from then on, however long
the process was held up.
"""

import asyncio
import contextlib
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from fairlead_operator.api import Manifest
from fairlead_operator.kinds import LEASE, Kind
from fairlead_operator.kube import KubeError
from fairlead_operator.metrics import LEADER

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
"""How long a Lease lasts without being renewed."""
GIVE_UP_SECONDS: Final = 10.0
"""A leader stops after so long without a renewal: well before another one may begin."""
RETRY_SECONDS: Final = 2.0
"""Between two looks at the Lease, or two renewals."""


class Leases(Protocol):
    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None: ...
    async def create(self, kind: Kind, manifest: Manifest) -> Manifest: ...
    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest: ...


class LostError(Exception):
    """The Lease could not be renewed in time, or another replica has it: this process has to end."""


def identity() -> str:
    """Of this process, for people and unique."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


@dataclass
class Elector:
    kube: Leases
    namespace: str
    name: str
    identity: str = field(default_factory=identity)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Any] = asyncio.sleep
    seen: bool = False
    """Whether the Lease has been read or written at all: a replica that waits is ready then."""
    _renewed: float | None = None
    """When this replica last wrote the Lease; None: it is not the leader."""
    _record: Manifest | None = None
    _changed: float = 0.0
    """When another record was last seen."""

    def leads(self) -> bool:
        """Whether this replica may write. Asked before every write."""
        return self._renewed is not None and self.clock() - self._renewed < LEASE_SECONDS

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Waits until this replica leads, and keeps the Lease while the body runs. If the Lease is lost, the body is
        cancelled and LostError is raised; otherwise it is released in the end, so that no replica has to wait."""
        await self._acquire()
        body = asyncio.current_task()
        assert body is not None
        renewing = asyncio.create_task(self._renew(), name="lease")
        renewing.add_done_callback(lambda task: None if task.cancelled() else body.cancel())
        try:
            yield
        except asyncio.CancelledError:
            if not renewing.done():
                raise
            body.uncancel()
            raise LostError(f"lost the Lease {self.namespace}/{self.name}") from None
        finally:
            lost = renewing.done()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if not lost:
                await self._release()
            self._renewed = None
            LEADER.set(0)

    async def _acquire(self) -> None:
        logger.info("Waiting to lead", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})
        while not await self._try():
            await self.sleep(RETRY_SECONDS)
        LEADER.set(1)
        logger.info("Leading", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})

    async def _renew(self) -> None:
        """Returns when the Lease is lost."""
        while True:
            await self.sleep(RETRY_SECONDS)
            if await self._try():
                continue
            holder = (self._record or {}).get("spec", {}).get("holderIdentity")
            assert self._renewed is not None
            if holder not in (self.identity, None) or self.clock() - self._renewed >= GIVE_UP_SECONDS:
                logger.error("The Lease is lost; %s holds it", holder)
                return

    async def _try(self) -> bool:
        """Takes or renews the Lease, if that is possible now."""
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS / 2):
                return await self._write()
        except (KubeError, TimeoutError) as error:
            logger.warning("The Lease could not be taken or renewed, which is tried again: %s", error or "time-out")
            return False

    async def _write(self) -> bool:
        found = await self.kube.get(LEASE, self.namespace, self.name)
        self.seen = True
        if _version(found) != _version(self._record):
            self._record, self._changed = found, self.clock()
        holder = (found or {}).get("spec", {}).get("holderIdentity")
        if holder not in (self.identity, None, "") and self.clock() - self._changed < _lasts(found):
            return False
        began = self.clock()
        wanted = self._wanted(found, self.identity)
        written = await (self.kube.replace(LEASE, wanted) if found else self.kube.create(LEASE, wanted))
        # From when the request was sent: another replica may count from when it was taken.
        self._record, self._changed, self._renewed = written, began, began
        return True

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS / 2):
                found = await self.kube.get(LEASE, self.namespace, self.name)
                if found and found["spec"].get("holderIdentity") == self.identity:
                    await self.kube.replace(LEASE, self._wanted(found, ""))
        except (KubeError, TimeoutError) as error:
            logger.warning("The Lease is not released and runs out by itself: %s", error or "time-out")

    def _wanted(self, found: Manifest | None, holder: str) -> Manifest:
        now = self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: Manifest = dict((found or {}).get("spec", {}))
        if spec.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", -1) + 1}
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": int(LEASE_SECONDS), "renewTime": now}
        metadata: Manifest = {"namespace": self.namespace, "name": self.name}
        if found:
            metadata = {name: found["metadata"][name] for name in ("namespace", "name", "resourceVersion")}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _version(lease: Manifest | None) -> str | None:
    return None if lease is None else str(lease["metadata"]["resourceVersion"])


def _lasts(found: Manifest | None) -> float:
    """Seconds, as its holder has written."""
    return float((found or {}).get("spec", {}).get("leaseDurationSeconds") or LEASE_SECONDS)
