"""Applies children, but only those that need it, and never takes over what belongs to somebody else."""

import asyncio
import itertools
import logging
from http import HTTPStatus
from typing import Final, Protocol

from fairlead_operator.api import FIELD_MANAGER, Manifest, ModelDeployment, Reason
from fairlead_operator.desired import Desired, naming
from fairlead_operator.desired.autoscaling import INSTALL
from fairlead_operator.groups import Groups
from fairlead_operator.kinds import CHILDREN, DEPLOYMENT, Kind
from fairlead_operator.kube import ConflictError, KubeError, NotFoundError, RefusedError
from fairlead_operator.metrics import WRITES
from fairlead_operator.observe import owner_of
from fairlead_operator.standing import digest, essence, stamped, stands
from fairlead_operator.status import Obstacle
from fairlead_operator.store import Store

logger = logging.getLogger(__name__)

NO_OBJECT: Final = "1"
"""The resource version of an empty etcd. In an apply, it lets an object be made; where there is one, it conflicts."""


class Writer(Protocol):
    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None: ...
    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest: ...
    async def hand_over(self, kind: Kind, manifest: Manifest) -> None: ...
    async def overwrite(self, kind: Kind, manifest: Manifest) -> None: ...
    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None: ...


class Children:
    """Keeps children as they should be, with as few requests as that takes: none where the object itself shows that it
    is so (`standing`), one otherwise. A hand edit is answered by an apply, which puts our fields back and leaves
    everybody else's alone.

    Nothing of somebody else's can be taken over, because each apply names its object: one that is not there yet by a
    resource version that no object can have, one that is there by its UID."""

    def __init__(self, kube: Writer, store: Store, groups: Groups) -> None:
        self._kube, self._store, self._groups = kube, store, groups
        self._settled: dict[tuple[str, str, str], tuple[str, str]] = {}
        """What was wanted and what the API server made of it, where that does not look the same."""

    async def apply(self, md: ModelDeployment, children: Desired) -> tuple[Obstacle, ...]:
        """Makes the children so and deletes those that are no longer wanted. Returns what the API server did not take,
        whatever its error: the status has to report it."""
        manifests = children.manifests
        results = await asyncio.gather(*(self._one(md, manifest) for manifest in manifests), return_exceptions=True)
        obstacles = [_unscaled(message) for message in children.unmet]
        for manifest, result in zip(manifests, results, strict=True):
            if isinstance(result, KubeError):
                obstacles.append(_not_taken(manifest, result))
            elif isinstance(result, BaseException):
                raise result  # only now: none of the others is under way any more
            elif result is not None:
                obstacles.append(result)
        return (*obstacles, *await self._prune(md, children))

    def forget(self, namespace: str, *names: str) -> None:
        """The resource with children of these names is gone."""
        for kind, name in itertools.product(CHILDREN, names):
            self._settled.pop((kind, namespace, name), None)

    async def _prune(self, md: ModelDeployment, children: Desired) -> list[Obstacle]:
        """Only what is seen, is ours and has one of our names: nothing is ever searched for to be deleted."""
        namespace, wanted, obstacles = md.metadata.namespace, children.places, list[Obstacle]()
        for kind, name in itertools.product(CHILDREN.values(), naming.names(md)):
            live = self._store.get(kind, namespace, name)
            if live is None or (kind.kind, name) in wanted or owner_of(live) != md.metadata.uid:
                continue
            if live["metadata"].get("deletionTimestamp"):
                continue
            try:
                await self._kube.delete(kind, namespace, name, live["metadata"]["uid"])
            except KubeError as error:
                obstacles.append(_not_taken(live | {"kind": kind.kind}, error, "deleted"))
                continue
            WRITES.labels(kind.kind).inc()
            self._settled.pop((kind.kind, namespace, name), None)
            logger.info("Deleted %s %s/%s", kind.kind, namespace, name)
        return obstacles

    async def _one(self, md: ModelDeployment, manifest: Manifest) -> Obstacle | None:
        kind = CHILDREN[manifest["kind"]]
        if not kind.needs or await self._groups.offers(kind.needs):
            try:
                return await self._ensure(md, kind, manifest)
            except NotFoundError:
                if not kind.optional:
                    raise
                self._groups.lost(kind.needs)
        obstacle = None if kind.optional else await self._ensure(md, kind, manifest)
        return obstacle or self._without(kind)

    def _without(self, kind: Kind) -> Obstacle | None:
        """Autoscaling was asked for, so its lack is told on the resource; the lack of anything else only in the log."""
        if kind.needs in INSTALL:
            return _unscaled(INSTALL[kind.needs])
        self._groups.missed(kind.needs, f"no {kind.kind} is made.")
        return None

    async def _ensure(self, md: ModelDeployment, kind: Kind, manifest: Manifest) -> Obstacle | None:
        namespace, name = md.metadata.namespace, manifest["metadata"]["name"]
        wanted = stamped(manifest)
        live = self._store.get(kind, namespace, name)
        if live is not None and self._stands(kind, live, wanted):
            return None
        try:
            applied = await self._apply(md, kind, wanted, live)
        except ConflictError:  # it is not as the watches told, or it is not labelled as ours
            live = await self._kube.get(kind, namespace, name)
            applied = await self._apply(md, kind, wanted, live)
        if isinstance(applied, Obstacle):
            return applied
        WRITES.labels(kind.kind).inc()
        self._store.put(kind, applied)
        if not stands(applied, wanted):
            self._settled[kind.kind, namespace, name] = (digest(wanted), essence(applied, wanted))
        logger.debug("Applied %s %s/%s", kind.kind, namespace, name)
        return None

    def _stands(self, kind: Kind, live: Manifest, wanted: Manifest) -> bool:
        if stands(live, wanted):
            return True
        known = self._settled.get((kind.kind, live["metadata"]["namespace"], live["metadata"]["name"]))
        return known is not None and known == (digest(wanted), essence(live, wanted))

    async def _apply(
        self, md: ModelDeployment, kind: Kind, wanted: Manifest, live: Manifest | None
    ) -> Manifest | Obstacle:
        """Raises ConflictError if the object that is there is not `live`."""
        if live is None:
            return await self._kube.apply(kind, _naming(wanted, resourceVersion=NO_OBJECT))
        if owner_of(live) != md.metadata.uid:
            return _conflict(kind, live)
        if kind is DEPLOYMENT and "replicas" not in wanted["spec"]:
            await self._hand_over_replicas(live)
        wanted = _naming(wanted, uid=live["metadata"]["uid"])
        try:
            return await self._kube.apply(kind, wanted)
        except RefusedError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:  # a patch would drop a field that is not in the schema
                raise
            await self._kube.overwrite(kind, wanted)
            return await self._kube.apply(kind, wanted)

    async def _hand_over_replicas(self, live: Manifest) -> None:
        """A number that was ours would fall to one pod when we leave it out (server-side apply removes what its only
        owner no longer sets), and rise again only with the autoscaler's first look."""
        metadata = {name: live["metadata"][name] for name in ("name", "namespace", "uid")}
        stored = await self._kube.get(DEPLOYMENT, metadata["namespace"], metadata["name"])
        if stored is None or not _sets_replicas(stored) or not stored["spec"].get("replicas"):
            return
        kept = {"spec": {"replicas": stored["spec"]["replicas"]}}
        await self._kube.hand_over(
            DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata} | kept
        )
        WRITES.labels(DEPLOYMENT.kind).inc()


def _sets_replicas(stored: Manifest) -> bool:
    return any(
        entry["manager"] == FIELD_MANAGER
        and entry["operation"] == "Apply"
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in stored["metadata"].get("managedFields", [])
    )


def _naming(manifest: Manifest, **fields: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], **fields}}


def _conflict(kind: Kind, live: Manifest) -> Obstacle:
    metadata = live["metadata"]
    if metadata.get("deletionTimestamp"):
        message = f"{kind.kind} {metadata['name']} of an earlier resource is still being deleted."
    else:
        message = f"{kind.kind} {metadata['name']} belongs to somebody else: delete it, or rename this resource."
    return Obstacle(Reason.NAME_CONFLICT, message, kind.about)


def _unscaled(message: str) -> Obstacle:
    return Obstacle(Reason.AUTOSCALER_MISSING, message, "autoscaler")


def _not_taken(manifest: Manifest, error: KubeError, what: str = "applied") -> Obstacle:
    child, about = f"{manifest['kind']} {manifest['metadata']['name']}", CHILDREN[manifest["kind"]].about
    if not isinstance(error, RefusedError):
        message = f"{child} could not be {what}, which is tried again: {error}"
        return Obstacle(Reason.APPLY_FAILED, message, about, passing=True)
    reason = Reason.INVALID_SPEC if error.invalid else Reason.APPLY_REFUSED
    return Obstacle(reason, f"{child} is refused: {error.message}", about)
