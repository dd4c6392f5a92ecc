"""ModelDeployments and their neighbours as `kubectl --output json` prints them, read for people. Pure; the clock is
passed in. Whatever is missing counts as not there yet."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Json = dict[str, Any]

GROUP: Final = "fairlead.dev"
OWNER_LABEL: Final = "fairlead.dev/model-deployment"
RUN_LABEL: Final = "fairlead.dev/run-id"
TRACK_LABEL: Final = "fairlead.dev/track"
ANOTHER_TRIAL: Final = "the alias, spec.model, spec.rollout or spec.slo"
"""What has to change before a rejected model is tried again."""
REVISION_LABEL: Final = "fairlead.dev/revision"
CANDIDATE: Final = "candidate"
STABLE: Final = "stable"
_SHORT_RUN: Final = 8
LOGGED_MODEL: Final = "m-"
"""Identities of models that were logged outside a run begin so."""
_UNSEEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's controls, formats (marks of direction, joiners, tags), halves of pairs, and separators of lines."""


@dataclass(frozen=True)
class Snapshot:
    """One ModelDeployment and what belongs to it, at one time."""

    resource: Json
    deployments: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    events: tuple[Json, ...] = ()
    """About the resource, its Deployments, ReplicaSets and pods."""
    operators: tuple[Json, ...] | None = None
    """The operator's Deployments; None: they may not be listed."""

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.resource["metadata"].get("namespace", ""))

    @property
    def status(self) -> Json:
        status: Json = self.resource.get("status") or {}
        return status

    @property
    def spec(self) -> Json:
        spec: Json = self.resource.get("spec") or {}
        return spec

    @property
    def observed(self) -> bool:
        """Whether the status is about the present spec."""
        return int(self.status.get("observedGeneration", -1)) >= int(self.resource["metadata"].get("generation", 1))

    def condition(self, kind: str) -> Json | None:
        return condition(self.resource, kind)

    def reason(self, kind: str) -> str:
        return str((self.condition(kind) or {}).get("reason", ""))

    def message(self, kind: str) -> str:
        return str((self.condition(kind) or {}).get("message", ""))


def condition(obj: Mapping[str, Any], kind: str) -> Json | None:
    """A condition of any object."""
    found: Iterable[Json] = (obj.get("status") or {}).get("conditions") or []
    return next((one for one in found if one.get("type") == kind), None)


def child_name(resource: Json) -> str:
    """What the children are called: the operator says so in `status.selector`, and it is mostly the resource's name."""
    selector = str((resource.get("status") or {}).get("selector", ""))
    pairs = dict(part.split("=", 1) for part in selector.split(",") if "=" in part)
    return pairs.get(OWNER_LABEL, str(resource["metadata"]["name"]))


def model(reference: Mapping[str, Any] | None) -> str:
    """`fraud version 7 (run 6f2c1d0e)`, or only the run."""
    if not reference:
        return "none"
    identity = str(reference.get("runID", ""))
    is_logged_model = identity.startswith(LOGGED_MODEL)
    run = f"logged model {identity[: _SHORT_RUN + 2]}" if is_logged_model else f"run {short(identity)}"
    if reference.get("modelName"):
        return f"{reference['modelName']} version {reference.get('modelVersion')} ({run})"
    return f"version {reference['modelVersion']} ({run})" if reference.get("modelVersion") else run


def wanted(spec: Mapping[str, Any]) -> str:
    """What `spec.model` names."""
    source = spec.get("model") or {}
    return str(source.get("uri") or f"run {source.get('runID', '?')}")


def short(run_id: str) -> str:
    return run_id[:_SHORT_RUN]


def instant(text: str | None) -> datetime | None:
    """A Kubernetes timestamp; None for what is none."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def age(text: str | None, now: datetime) -> str:
    """`5d`, `3h12m`, `4m10s`, as kubectl has it; `-` for what is no time."""
    then = instant(text)
    if then is None:
        return "-"
    seconds = max(0, int((now - then).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds // 60
    if days >= 2:
        return f"{days}d"
    if hours >= 1:
        return f"{hours}h{minutes % 60}m" if minutes % 60 and hours < 10 else f"{hours}h"
    return f"{minutes}m{seconds % 60}s" if minutes and minutes < 10 else f"{minutes}m" if minutes else f"{seconds}s"


def printable(found: Any) -> Any:
    """With escapes for what is not seen in any string of a document: what a pod or a model says may not steer a
    terminal, nor turn the order of what is read around."""
    if isinstance(found, str):
        return found if found.isprintable() else "".join(map(_seen, found))
    if isinstance(found, list):
        return [printable(one) for one in found]
    if isinstance(found, dict):
        return {printable(key): printable(value) for key, value in found.items()}
    return found


def _seen(character: str) -> str:
    if character in "\t\n" or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def told(text: str) -> Json | None:
    """`{"reason", "message", "run_id"}` as a loader leaves it in its termination message; None for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("reason"), str) else None
