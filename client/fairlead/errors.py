"""What goes wrong, as exceptions: no answer, or an answer that is an RFC 9457 problem document."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_PREFIX: Final = "urn:fairlead:problem:"
_SHOWN: Final = 300


class FairleadError(Exception):
    """The base of all errors of this client."""


class UnreachableError(FairleadError):
    """No answer: nothing listens there, the name is unknown, or it took too long."""


@dataclass(frozen=True)
class FieldError:
    """One place in the request that is wrong."""

    pointer: str
    """A JSON pointer into the body, such as `/features/1/2`: the second row's third value."""
    detail: str


class ApiError(FairleadError):
    """The API refused, or failed. Its fields are those of the problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.instance = str(problem.get("instance", ""))
        """The request, as in the server's logs."""
        found = problem.get("errors") or ()
        self.errors = tuple(FieldError(str(one.get("pointer", "")), str(one.get("detail", ""))) for one in found)
        self.retry_after = retry_after
        """Seconds after which the server says it is worth trying again."""
        super().__init__(self._text())

    @property
    def kind(self) -> str:
        """The last part of `type`: `invalid-input`, `queue-full`, …"""
        return self.type.removeprefix(_PREFIX)

    def _text(self) -> str:
        places = "; ".join(f"{error.pointer}: {error.detail}" for error in self.errors if error.detail != self.detail)
        request = f" [{self.instance.removeprefix('urn:fairlead:request:')}]" if self.instance else ""
        return f"{self.status} {self.title}: {self.detail}" + (f" ({places})" if places else "") + request


class JobError(ApiError):
    """A training ended without a model: it failed, was cancelled or was interrupted."""

    def __init__(self, job_id: str, state: str, problem: Mapping[str, Any]) -> None:
        self.job_id, self.state = job_id, state
        super().__init__(int(problem.get("status", 500)), problem)


def from_answer(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> ApiError:
    """An answer of 400 or above. One that is no problem document comes from something in between, such as a proxy."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "title" not in problem:
        problem = {"title": reason or "No problem document", "detail": body.decode(errors="replace")[:_SHOWN].strip()}
    return ApiError(status, problem, retry_after(headers.get("retry-after")))


def retry_after(header: str | None) -> float | None:
    """Seconds. The header's other form, a date, is not used by Fairlead and counts as none."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
