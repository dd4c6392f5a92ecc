"""Roles, and what each route needs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fairlead_service import contract
from fairlead_service.errors import Unauthorized


class Role(StrEnum):
    PREDICT = "predict"
    TRAIN = "train"
    ADMIN = "admin"
    """Contains the others."""


class Open(StrEnum):
    """Needs of routes that need no role of their own."""

    ANYBODY = "anybody"
    ANY_ROLE = "any role"


Need = Role | Open


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever sent a good credential."""

    name: str
    """The subject of audit lines."""
    roles: frozenset[Role]

    def may(self, need: Need) -> bool:
        match need:
            case Open.ANYBODY:
                return True
            case Open.ANY_ROLE:
                return bool(self.roles)
            case Role():
                return need in self.roles or Role.ADMIN in self.roles


_OPEN: Final = frozenset(
    {
        # Probes and scrapers, which have no credentials: no row of a user is in their answers.
        "/health", contract.LIVE_PATH, contract.READY_PATH, "/metrics", "/ping", "/version",
        "/v2", "/v2/health/live", "/v2/health/ready",
        # Pages and the form of the API, which are public with the source.
        "/", "/docs", "/openapi.json",
    }
)  # fmt: skip
_READ: Final = ("/model/info", "/metrics/summary", "/train/jobs", "/algorithms", "/models", "/runs", "/v2/models")


def needed(method: str, template: str) -> Need:
    """What a route asks of its clients. A route that is not named here needs `admin`."""
    if method in ("GET", "HEAD"):
        if template in _OPEN:
            return Open.ANYBODY
        if any(template == path or template.startswith(path + "/") for path in _READ):
            return Open.ANY_ROLE
    elif method == "POST":
        if template in ("/predict", "/invocations") or (template.startswith("/v2/") and template.endswith("/infer")):
            return Role.PREDICT
        if template == "/v2/repository/index":
            return Open.ANY_ROLE
        if template == "/train":
            return Role.TRAIN
    elif method == "DELETE" and template.startswith("/train/jobs/"):
        return Role.TRAIN
    return Role.ADMIN


def refused(detail: str) -> Unauthorized:
    """Of a credential that is no good."""
    return Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
