"""What one user asked an API server for, request by request: counters say how many, this says which.

audit = Audit(directory, "system:serviceaccount:kube-system:operator")
with ControlPlane(directory, apiserver_args=audit.arguments):
    mark = audit.mark()
    ...
    Counter(f"{request.verb} {request.resource}" for request in audit.since(mark))
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    verb: str
    """As RBAC has it: get, list, watch, create, patch, …"""
    resource: str
    """Plural, with the subresource behind a slash."""
    namespace: str
    """Empty for what concerns all namespaces."""
    name: str
    status: int
    at: str
    """When it came in, RFC 3339 with microseconds."""

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")


class Audit:
    def __init__(self, directory: Path, *users: str) -> None:
        """`directory` is made if missing; the API server writes there, one line a request of these users alone."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log, self._policy = directory / "audit.log", directory / "audit-policy.json"
        self._policy.write_text(json.dumps(_policy(users)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the API server."""
        return (f"--audit-policy-file={self._policy}", f"--audit-log-path={self._log}")

    def mark(self) -> int:
        """Now, for `since`: a request is written down before it is answered."""
        return self._log.stat().st_size if self._log.exists() else 0

    def since(self, mark: int) -> list[Request]:
        """Requests after a mark, in the order they were answered; a watch counts when it begins."""
        with self._log.open("rb") as lines:
            lines.seek(mark)
            return [_request(line) for line in lines if line.endswith(b"\n")]


def _policy(users: Sequence[str]) -> dict[str, object]:
    ours = {"level": "Metadata", "users": list(users)}
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "rules": [
            {**ours, "verbs": ["watch"], "omitStages": ["RequestReceived", "ResponseComplete"]},
            {**ours, "omitStages": ["RequestReceived", "ResponseStarted"]},
            {"level": "None"},
        ],
    }


def _request(line: bytes) -> Request:
    entry = json.loads(line)
    about = entry.get("objectRef", {})
    parts = [about.get("resource", entry["requestURI"]), about.get("subresource", "")]
    return Request(
        entry["verb"],
        "/".join(filter(None, parts)),
        about.get("namespace", ""),
        about.get("name", ""),
        entry.get("responseStatus", {}).get("code", 0),
        entry["requestReceivedTimestamp"],
    )
