"""`promote`, `abort` and `rollback`: what has to be said to which object, and what the person should know first. Pure.

The operator is told about canaries by annotations that name one model (docs/canary.md). Nothing is told to it about
the past: going back means to want another model, so it changes what says which one is wanted.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fairlead_kubectl.reading import ANOTHER_TRIAL, LOGGED_MODEL, Json, Snapshot, model, short

PROMOTE: Final = "fairlead.dev/promote"
ABORT: Final = "fairlead.dev/abort"
APPROVE: Final = "fairlead.dev/approve"
_ASKED: Final = re.compile(rf"{re.escape(APPROVE)}=(\S+)")
_ALIAS: Final = re.compile(r"models:/(?P<name>[^/@:]+)@(?P<alias>[^/@:]+)")
_VERSION: Final = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>[1-9][0-9]*)")
_RUN: Final = re.compile(r"runs:/(?P<run>[0-9a-f]{32})/(?P<path>[^/].*?)/*")
_MANAGERS: Final = {
    "argocd": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "helm": "Helm",
}
_MARKS: Final = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "meta.helm.sh/release-name": "Helm",
}


class RefusedError(Exception):
    """There is nothing to do, or not so; the message says what to do instead."""


@dataclass(frozen=True)
class Action:
    """One change of a ModelDeployment."""

    sentence: str
    """What will happen, for whoever has to confirm it."""
    patch: Json
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class AliasMove:
    """A change in MLflow, which the ModelDeployment follows."""

    sentence: str
    name: str
    alias: str
    version: str
    warnings: tuple[str, ...] = ()


def promote(snapshot: Snapshot) -> Action:
    """A canary takes the serving model's place now; or, with `updatePolicy: Manual`, what waits is let in.
    Raises RefusedError."""
    candidate = snapshot.status.get("candidate")
    if candidate and candidate.get("promotedAt"):
        raise RefusedError(f"{model(candidate)} is promoted already and takes the serving model's place")
    if candidate and candidate.get("step") is not None:
        sentence = (
            f"{model(candidate)} takes the place of {model(snapshot.status.get('serving'))}, without further checks"
        )
        return Action(sentence, _annotation(PROMOTE, _named(candidate)))
    if snapshot.reason("UpToDate") == "UpdateAvailable":
        asked = _ASKED.search(snapshot.message("UpToDate"))
        if asked is not None:
            sentence = f"version or run {asked[1]} is approved and rolled out as spec.rollout says"
            return Action(sentence, _annotation(APPROVE, asked[1]))
    if candidate:
        raise RefusedError(f"{model(candidate)} rolls out pod by pod; only a canary is promoted")
    raise RefusedError(f"nothing is on trial: {snapshot.message('UpToDate') or 'the operator has said nothing yet'}")


def abort(snapshot: Snapshot) -> Action:
    """A canary is taken back. Raises RefusedError."""
    candidate = snapshot.status.get("candidate")
    if not candidate:
        raise RefusedError("nothing is on trial; to leave what serves: kubectl fairlead rollback")
    if candidate.get("step") is None or candidate.get("promotedAt"):
        raise RefusedError(
            f"{model(candidate)} is past its canary, or has none; to take it back: kubectl fairlead rollback"
        )
    sentence = f"{model(candidate)} is taken back and not tried again until {ANOTHER_TRIAL} changes"
    return Action(sentence, _annotation(ABORT, _named(candidate)))


def target(snapshot: Snapshot) -> Json:
    """The last good model: what serves, while another one is wanted that is on trial or was rejected; else the newest
    that was replaced. Raises RefusedError."""
    serving = snapshot.status.get("serving") or {}
    wanted = [snapshot.status.get("candidate"), *(snapshot.status.get("rejected") or [])]
    if serving and any(one and one["runID"] != serving["runID"] for one in wanted):
        return dict(serving)
    for entry in snapshot.status.get("history") or []:
        if entry["verdict"] == "Replaced" and entry["runID"] != serving.get("runID"):
            return dict(entry)
    limit = snapshot.spec.get("historyLimit", 10)
    raise RefusedError(
        f"status.history has no model that served before (historyLimit is {limit}); name one in spec.model"
    )


def rollback(snapshot: Snapshot, pin: bool = False, move_alias: bool = False) -> Action | AliasMove:
    """Wants the last good model again. Where an alias says what is wanted, the caller has to say which of both is to
    change: the alias, which all who follow it will see, or this resource. Raises RefusedError."""
    source, good = snapshot.spec.get("model") or {}, target(snapshot)
    uri = str(source.get("uri") or "")
    alias = _ALIAS.fullmatch(uri)
    if alias and not pin:
        return _by_alias(snapshot, good, alias["name"], alias["alias"], move_alias)
    if move_alias:
        raise RefusedError("spec.model follows no alias: leave --move-alias out")
    name = (alias or _VERSION.fullmatch(uri) or {"name": ""})["name"]
    run = _RUN.fullmatch(uri)
    if name and good.get("modelVersion"):
        wants: Json = {"uri": f"models:/{name}/{good['modelVersion']}", "runID": None}
    elif good["runID"].startswith(LOGGED_MODEL):
        wants = {"uri": f"models:/{good['runID']}", "runID": None}
    elif run:
        wants = {"uri": f"runs:/{good['runID']}/{run['path']}", "runID": None}
    else:
        wants = {"runID": good["runID"], "uri": None}
    named = wants["uri"] or f"run {wants['runID']}"
    sentence = f"spec.model becomes {named} ({model(good)}), and the pods roll to it as spec.rollout says"
    warnings = (*_on_trial(snapshot), *_managed(snapshot.resource))
    if alias:
        warnings = (f"it no longer follows the alias {alias['alias']}; name {uri} again later", *warnings)
    return Action(sentence, {"spec": {"model": wants}}, warnings)


def _by_alias(snapshot: Snapshot, good: Json, name: str, alias: str, move: bool) -> AliasMove:
    version = good.get("modelVersion")
    if not version:
        raise RefusedError(
            f"run {good['runID']} is no version of {name}, so the alias {alias} cannot name it; use --pin"
        )
    if not move:
        raise RefusedError(
            "".join(f"{hint}\n" for hint in _on_trial(snapshot))
            + f"spec.model follows the alias {alias} of {name}, which has to be moved back to version {version} "
            f"(run {short(good['runID'])}). Either move it in MLflow, for all who follow it:\n"
            f"  kubectl fairlead rollback {snapshot.name} --namespace {snapshot.namespace} --move-alias\n"
            f"or let this resource name the version itself:\n"
            f"  kubectl fairlead rollback {snapshot.name} --namespace {snapshot.namespace} --pin"
        )
    sentence = f"in MLflow, the alias {alias} of {name} moves to version {version} (run {short(good['runID'])})"
    return AliasMove(sentence, name, alias, version, ("everything that follows this alias goes back, too",))


def _on_trial(snapshot: Snapshot) -> Iterator[str]:
    candidate = snapshot.status.get("candidate") or {}
    if candidate.get("step") is not None and not candidate.get("promotedAt"):
        yield f"{model(candidate)} is only a canary: kubectl fairlead abort takes it back and leaves spec.model alone"


def _annotation(name: str, value: str) -> Json:
    return {"metadata": {"annotations": {name: value}}}


def _named(candidate: Json) -> str:
    """As people read it where it has a version; the operator takes both."""
    return str(candidate.get("modelVersion") or candidate["runID"])


def _managed(resource: Json) -> Iterator[str]:
    """Who will put spec.model back as it was."""
    found = sorted(managers(resource))
    if found:
        yield f"{' and '.join(found)} manages this object and will undo the change: commit it to its source as well"


def managers(resource: Json) -> set[str]:
    """Tools that apply the resource from somewhere else: by who wrote its spec, and by what they leave on it."""
    metadata: dict[str, Any] = resource["metadata"]
    marked = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    found = {tool for mark, tool in _MARKS.items() if mark in marked}
    for entry in metadata.get("managedFields") or []:
        if "f:spec" in (entry.get("fieldsV1") or {}):
            found |= {tool for word, tool in _MANAGERS.items() if str(entry.get("manager", "")).startswith(word)}
    return found - {"Helm"} if "Flux" in found else found


def command(action: Action, name: str, namespace: str, manager: str) -> list[str]:
    """Arguments of kubectl that do it."""
    return [
        "patch", "modeldeployments.fairlead.dev", name, "--namespace", namespace, "--type", "merge",
        "--field-manager", manager, "--patch", json.dumps(action.patch),
    ]  # fmt: skip
