"""`kubectl fairlead status` and `history`: one screen about one ModelDeployment, as a document. Pure."""

from dataclasses import asdict
from typing import Any, Final

from fairlead_kubectl.pods import read
from fairlead_kubectl.reading import Json, Snapshot, model, wanted
from fairlead_kubectl.why import diagnose

_REFERENCE: Final = ("runID", "modelName", "modelVersion", "alias")
_RECENT: Final = 5


def document(snapshot: Snapshot) -> Json:
    """What the screen shows and `-o json` prints."""
    status, cause = snapshot.status, diagnose(snapshot).cause
    return {
        "name": snapshot.name,
        "namespace": snapshot.namespace,
        "health": cause.health,
        "reason": cause.reason,
        "summary": cause.evidence or cause.likely,
        "wants": wanted(snapshot.spec),
        "strategy": (snapshot.spec.get("rollout") or {}).get("strategy", "Rolling"),
        "url": status.get("url"),
        "replicas": status.get("replicas"),
        "readyReplicas": status.get("readyReplicas"),
        "serving": status.get("serving"),
        "candidate": _candidate(snapshot),
        "pods": [asdict(read(raw)) for raw in snapshot.pods],
        "lastFailure": status.get("lastFailure"),
        "rejected": status.get("rejected") or [],
        "history": (status.get("history") or [])[:_RECENT],
    }


def _candidate(snapshot: Snapshot) -> Json | None:
    """With what its step number means."""
    found: Json | None = snapshot.status.get("candidate")
    if not found:
        return None
    steps = (snapshot.spec.get("rollout") or {}).get("steps") or [0, 20, 50]
    return found | {"steps": steps if found.get("step") is not None else None}


def stage(candidate: Json) -> str:
    """`step 2 of 3 (20 % of the pods), 25 % of the traffic`; where a trial is."""
    step, steps = candidate.get("step"), candidate.get("steps") or []
    if candidate.get("promotedAt"):
        return "passed; it takes the serving model's place"
    if step is None:
        return "rolling out pod by pod"
    weight = f" ({steps[step]} %)" if step < len(steps) else ""
    return f"step {step + 1} of {len(steps)}{weight}, {candidate.get('weightPercent', 0)} % of the traffic now"


def history(resource: Json) -> list[dict[str, Any]]:
    """What serves, then what was, the newest first."""
    status = resource.get("status") or {}
    rows = []
    serving = status.get("serving")
    if serving:
        rows.append(
            {
                "runID": serving["runID"],
                "modelVersion": serving.get("modelVersion"),
                "from": serving.get("since"),
                "to": None,
                "verdict": "Serving",
            }
        )
    reasons = {rejected["runID"]: rejected.get("message", "") for rejected in status.get("rejected") or []}
    for entry in status.get("history") or []:
        message = reasons.get(entry["runID"], "") if str(entry["verdict"]).startswith("Rejected") else ""
        rows.append(
            {key: entry.get(key) for key in ("runID", "modelVersion", "from", "to", "verdict")} | {"message": message}
        )
    return rows


def heading(reference: Json | None) -> str:
    """A model and the alias it came by."""
    text = model(reference)
    return f"{text}, alias {reference['alias']}" if reference and reference.get("alias") else text
