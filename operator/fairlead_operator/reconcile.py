"""One reconcile: read → resolve → observe → plan → apply → status. Everything decided is decided by pure functions;
this is the order in which they meet the outside."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Protocol

from pydantic import ValidationError

from fairlead_operator import api, events, logs, reference, rollout, words
from fairlead_operator.api import Manifest, Metadata, ModelDeployment, Reason, Status
from fairlead_operator.apply import Children, Writer
from fairlead_operator.checks import Measurement, Question
from fairlead_operator.desired import desired, naming
from fairlead_operator.desired.pods import PodDefaults
from fairlead_operator.desired.surroundings import Surroundings
from fairlead_operator.drift import Judgement, Unknown
from fairlead_operator.hotswap import Round
from fairlead_operator.kinds import DEPLOYMENT, EVENT, MODEL_DEPLOYMENT, POD, SERVICE, Kind
from fairlead_operator.kube import KubeError, NotFoundError
from fairlead_operator.metrics import ROLLOUTS, WRITES
from fairlead_operator.observe import Observed, observe, owner_of
from fairlead_operator.plan import Plan
from fairlead_operator.pod_events import PodEvents, Warnings
from fairlead_operator.registrar import Registrar
from fairlead_operator.reports import Report
from fairlead_operator.resolve import Resolver
from fairlead_operator.status import Obstacle, halted, status
from fairlead_operator.store import Key, Store

logger = logging.getLogger(__name__)

RETRY_OBSTACLE_SECONDS = 60.0
"""What stands in the way is not watched: it may not carry our label."""


class UnfinishedError(KubeError):
    """The status is written, but something could not be done that may succeed later."""

    def __init__(self, message: str, within: float | None) -> None:
        """`within`: seconds until the resource has to be looked at in any case."""
        super().__init__(0, message)
        self.within = within


class Cluster(Writer, Warnings, Protocol):
    """What reconciling needs of the API server."""

    async def admit(self, namespace: str, pod: str, now: datetime) -> Manifest: ...
    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest: ...
    async def create(self, kind: Kind, manifest: Manifest) -> Manifest: ...


class Measures(Protocol):
    """What reconciling needs of the analyst: it answers later, and then the resource is reconciled again."""

    def answer(self, key: Key) -> Measurement | None: ...
    def ask(self, key: Key, question: Question) -> None: ...
    def forget(self, key: Key) -> None: ...


class Speaks(Protocol):
    """What reconciling needs of the interviews: they answer later, too."""

    def reports(self, key: Key) -> Mapping[str, Report]: ...
    def begin(self, key: Key, what: Round) -> None: ...
    def forget(self, key: Key) -> None: ...


@dataclass(frozen=True)
class Reconciler:
    kube: Cluster
    store: Store
    resolver: Resolver
    children: Children
    analyst: Measures
    interviews: Speaks
    registrar: Registrar
    pod_events: PodEvents
    defaults: PodDefaults
    clock: Callable[[], datetime]
    surroundings: Surroundings
    drift: Callable[[Key], Judgement | Unknown]

    async def reconcile(self, key: Key) -> float | None:
        """Brings one ModelDeployment a step further. Returns seconds until it has to be looked at even if nothing
        happens; raises KubeError for what is worth trying again. Whatever fails, the status is written first."""
        raw = self.store.get(MODEL_DEPLOYMENT, *key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self.children.forget(key.namespace, naming.child_name(key.name), naming.canary_name(key.name))
            self.analyst.forget(key)
            self.interviews.forget(key)
            self.registrar.settled(key)
            return None  # owner references delete the children
        old = api.read_status(raw.get("status"))
        try:
            md = ModelDeployment.model_validate(raw)
        except ValidationError as error:
            return await self._write(raw, [old, self._halted(raw, old, Reason.INVALID_SPEC, _explain(error))])
        try:
            return await self._advance(key, md, raw, old)
        except KubeError:
            raise  # the status is written, or cannot be
        except Exception as error:
            message = f"The operator failed, which it tries again; its log has the details: {error!r}"
            await self._write(raw, [old, self._halted(raw, old, Reason.INTERNAL_ERROR, message)])
            raise

    async def _advance(self, key: Key, md: ModelDeployment, raw: Manifest, old: Status) -> float | None:
        resolution = await self._resolve(md, old)
        measured, reports = self.analyst.answer(key), self.interviews.reports(key)
        before = self._observe(md.metadata)
        seen = await self.pod_events.explain(key.namespace, before)
        plan = rollout.plan(md, resolution, seen, old, self._now(), self.defaults, measured, reports)
        children = desired(md, plan.template, self.defaults, plan.trial, plan.frozen, self.surroundings, plan.recorded)
        obstacles = (*await self.children.apply(md, children), *await self._admit(md, plan.admit))
        new = status(md, plan, resolution, seen, obstacles, old, self._now(), self.drift(key))
        path, unapplied = [old, new], False
        if not obstacles and (latest := self._observe(md.metadata)) != before:  # applying may have changed it
            seen, applied = latest, plan.applied
            plan = rollout.plan(md, resolution, seen, new, self._now(), self.defaults, measured, reports)
            path.append(status(md, plan, resolution, seen, obstacles, new, self._now(), self.drift(key)))
            unapplied = plan.applied != applied
        edited = await self._write(raw, path)
        self._find_out(key, plan)
        again = 0.0 if unapplied else edited
        waits = (plan.check_after, self.pod_events.check_after(seen), again)
        wait = _sooner(*waits, RETRY_OBSTACLE_SECONDS if obstacles else None)
        if passing := [found for found in obstacles if found.passing]:
            raise UnfinishedError(passing[0].message, wait)
        return wait

    def _find_out(self, key: Key, plan: Plan) -> None:
        """What the plan has to know before it can go on; the answers wake the resource."""
        if plan.question is not None:
            self.analyst.ask(key, plan.question)
        elif plan.candidate is None:
            self.analyst.forget(key)
        if plan.round is not None:
            self.interviews.begin(key, plan.round)
        elif plan.recorded is None:
            self.interviews.forget(key)

    async def _resolve(self, md: ModelDeployment, old: Status) -> reference.Resolution:
        wanted = reference.parse(md.spec.model)
        known = reference.known(wanted, old)
        return reference.Resolved(known) if known else await self.resolver.resolve(wanted)

    def _observe(self, md: Metadata) -> Observed:
        namespace, name = md.namespace, naming.child_name(md.name)
        service = self.store.get(SERVICE, namespace, name)
        reachable = service is not None and owner_of(service) == md.uid
        return observe(self.store.get(DEPLOYMENT, namespace, name), self.store.pods(namespace, name), reachable)

    def _halted(self, raw: Manifest, old: Status, reason: Reason, message: str) -> Status:
        seen = self._observe(Metadata.model_validate(raw["metadata"]))
        return halted(raw, reason, message, seen, old, self._now())

    async def _admit(self, md: ModelDeployment, pods: tuple[str, ...]) -> list[Obstacle]:
        """Returns what the API server did not take."""
        obstacles = []
        for pod in pods:
            try:
                self.store.put(POD, await self.kube.admit(md.metadata.namespace, pod, self._now()))
            except NotFoundError:
                continue  # gone meanwhile
            except KubeError as error:
                message = f"Pod {pod} could not be admitted to users' requests, which is tried again: {error}"
                obstacles.append(Obstacle(Reason.APPLY_FAILED, message, passing=True))
                continue
            WRITES.labels(POD.kind).inc()
        return obstacles

    async def _write(self, raw: Manifest, path: Sequence[Status]) -> float | None:
        """Tells the model registry what is news, and writes the status if it changed. `path` are the status that is
        stored, what was decided from it, and the status to write. Returns seconds until what could not be told is worth
        trying again."""
        key = Key(raw["metadata"]["namespace"], raw["metadata"]["name"])
        new = await self.registrar.tell(key, path[0], path[-1])
        edited = new.to_json() != raw.get("status", {}) and await self._store(raw, [*path[:-1], new])
        self.registrar.settled(key)
        return 0.0 if edited else self.registrar.retry_after(new)

    async def _store(self, raw: Manifest, path: Sequence[Status]) -> bool:
        """Writes the status; then tells what happened on the path to it. Returns whether the object has been edited
        meanwhile: it is in the store now, so its watch event, which is still to come, will be no news."""
        metadata = {name: raw["metadata"][name] for name in ("name", "namespace", "uid")}
        written = {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": metadata, "status": path[-1].to_json()}
        try:
            stored = await self.kube.apply_status(MODEL_DEPLOYMENT, written)
        except NotFoundError:
            return False  # deleted meanwhile
        WRITES.labels("status").inc()
        self.store.put(MODEL_DEPLOYMENT, stored)
        for old, new in pairwise(path):
            await self._tell_step(stored, old, new)
        return _essence(stored) != _essence(raw)

    async def _tell_step(self, stored: Manifest, old: Status, new: Status) -> None:
        for outcome in events.outcomes(old, new):
            ROLLOUTS.labels(outcome).inc()
        for check in events.checked(old, new):
            text = f"{check.name} {check.value}, must be {check.threshold}"
            logs.audit("Check", text, **_where(stored), run_id=new.candidate and new.candidate.run_id, ok=check.ok)
        for transition in events.transitions(old, new):
            await self._tell(stored, transition)

    async def _tell(self, stored: Manifest, transition: events.Transition) -> None:
        """An audit line always; an Event of what is news, if the API server takes it."""
        model = transition.model
        by = words.author(stored, transition.annotation, model) if model else None
        logs.audit(transition.reason, transition.message, **_where(stored), run_id=transition.run_id, by=by)
        if not transition.news:
            return
        try:
            await self.kube.create(EVENT, events.manifest(stored, transition, self._now()))
            WRITES.labels("Event").inc()
        except KubeError as error:
            details = {"namespace": stored["metadata"]["namespace"], "modeldeployment": stored["metadata"]["name"]}
            logger.warning("Event %s is lost: %s", transition.reason, error, extra=details)

    def _now(self) -> datetime:
        """In whole seconds, as they are stored: a status read back is the status written."""
        return self.clock().replace(microsecond=0)


def _where(obj: Manifest) -> dict[str, str]:
    return {name: obj["metadata"][name] for name in ("namespace", "name")}


def _essence(obj: Manifest) -> tuple[object, ...]:
    """What people change of a resource."""
    metadata = obj["metadata"]
    return obj.get("spec"), *(metadata.get(name) for name in ("generation", "annotations", "deletionTimestamp"))


def _sooner(*waits: float | None) -> float | None:
    return min((seconds for seconds in waits if seconds is not None), default=None)


def _explain(error: ValidationError) -> str:
    """`spec.env.0.name: must be …`, for each thing that is wrong."""
    found = [f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors()]
    return f"The stored object is not valid: {'; '.join(found)}"
