"""Every error that a client can see: one exception class a kind of problem, answered as RFC 9457 problem details.

A class carries its status, slug and title, and describes itself for OpenAPI; an instance says what is wrong, where,
and what to send instead. Whatever is not a `Problem` is a bug and answered as `InternalError` without its text.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import orjson
from pydantic import BaseModel, Field

from fairlead_service.contract import FailureReason

MEDIA_TYPE: Final = "application/problem+json"
UNEXPECTED: Final = "an unexpected error; it is in the server's log under this request's id"


class FieldError(BaseModel):
    """One place in the request that is wrong."""

    pointer: str = Field(description="JSON pointer into the request body", examples=["/features/1/2"])
    detail: str = Field(description="What is wrong there, and what to send instead")


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="Identifies the kind of problem", examples=["urn:fairlead:problem:invalid-input"])
    title: str = Field(description="What kind of problem it is")
    status: int = Field(description="Of the answer")
    detail: str = Field(description="What is wrong, where, and what to send instead")
    instance: str = Field(description="The request, as in the `X-Request-ID` header and the logs")
    errors: list[FieldError] | None = Field(default=None, description="Each place in the request that is wrong")


class Problem(Exception):  # noqa: N818 (the name of RFC 9457)
    """The base of all errors a client can see."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self, detail: str, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def details(self) -> dict[str, Any]:
        """What is the same whichever request met it; without the errors."""
        kind = f"urn:fairlead:problem:{self.slug}"
        return {"type": kind, "title": self.title, "status": self.status, "detail": self.detail}

    def body(self, request_id: str) -> bytes:
        details = {**self.details(), "instance": f"urn:fairlead:request:{request_id}"}
        if self.errors:
            details["errors"] = [error.model_dump() for error in self.errors]
        return orjson.dumps(details)


class MalformedBody(Problem):
    status, slug, title = 400, "malformed-body", "The body is not the JSON it should be"


class MalformedRequest(Problem):
    status, slug, title = 400, "malformed-request", "The request is not HTTP"


class Unauthorized(Problem):
    status, slug, title = 401, "unauthorized", "The request carries no good credential"


class Forbidden(Problem):
    status, slug, title = 403, "forbidden", "The credential lacks a role"


class TlsRequired(Problem):
    status, slug, title = 403, "tls-required", "The path is served by TLS only"


class NotFound(Problem):
    status, slug, title = 404, "not-found", "No such path"


class JobNotFound(Problem):
    status, slug, title = 404, "job-not-found", "No such training job"


class ModelNotFound(Problem):
    status, slug, title = 404, "model-not-found", "No such run, or the run has no model"


class RegistryNotFound(Problem):
    status, slug, title = 404, "registry-not-found", "MLflow does not have it"


class MethodNotAllowed(Problem):
    status, slug, title = 405, "method-not-allowed", "The path does not take this method"


class BodyTimeout(Problem):
    status, slug, title = 408, "body-timeout", "The body did not arrive in time"


class HeadTimeout(Problem):
    status, slug, title = 408, "head-timeout", "The request's head did not arrive in time"


class JobEnded(Problem):
    status, slug, title = 409, "job-ended", "The training job can't be cancelled any more"


class AlreadyTaken(Problem):
    status, slug, title = 409, "already-taken", "Another version has this semantic version"


class TrainingCancelled(Problem):
    status, slug, title = 409, "training-cancelled", "The training was cancelled"


class BodyTooLarge(Problem):
    status, slug, title = 413, "body-too-large", "The body is over the limit"


class TooManyRows(Problem):
    status, slug, title = 413, "too-many-rows", "More rows than one request may have"


class UnsupportedMediaType(Problem):
    status, slug, title = 415, "unsupported-media-type", "The body is not application/json"


class InvalidInput(Problem):
    status, slug, title = 422, "invalid-input", "The request does not say what it must"


class ModelRefusedInput(Problem):
    status, slug, title = 422, "model-refused-input", "The model does not take this input"


class UnknownAlgorithm(Problem):
    status, slug, title = 422, "unknown-algorithm", "No such algorithm"


class InvalidHyperparameter(Problem):
    status, slug, title = 422, "invalid-hyperparameter", "The algorithm does not take this hyperparameter"


class InvalidData(Problem):
    status, slug, title = 422, "invalid-data", "No model can be trained on these data"


class ModelCorrupt(Problem):
    status, slug, title = 422, "model-corrupt", "The model's files are missing or damaged"


class ModelRefused(Problem):
    status, slug, title = 422, "model-refused", "The model is not safe to load"


class ModelUnsupported(Problem):
    status, slug, title = 422, "model-unsupported", "Not a model that Fairlead can serve"


class VersionMismatch(Problem):
    status, slug, title = 422, "version-mismatch", "The model was trained with other versions"


class SelfTestFailed(Problem):
    status, slug, title = 422, "self-test-failed", "The model fails on its own input example"


class QueueFull(Problem):
    status, slug, title = 429, "queue-full", "Too much work is waiting already"


class Overloaded(Problem):
    """Of predictions. The advice and `Retry-After` are the same whichever limit was met: moments later there may be
    room, and another server may have some now."""

    status, slug, title = 429, "overloaded", "More requests came than can be answered in time"

    def __init__(self, cause: str) -> None:
        detail = f"{cause}; send the request again after a second, or to another server"
        super().__init__(detail, headers={"Retry-After": "1"})


class HeadTooLarge(Problem):
    status, slug, title = 431, "head-too-large", "The request's head is over the limit"


class InternalError(Problem):
    status, slug, title = 500, "internal-error", "The server failed"


class ChildCrashed(Problem):
    status, slug, title = 500, "child-crashed", "The process doing the work ended without an answer"


class LoadFailed(Problem):
    status, slug, title = 500, "load-failed", "The model could not be loaded"


class TrainingFailed(Problem):
    status, slug, title = 500, "training-failed", "The training failed"


class TransferCodingUnsupported(Problem):
    status, slug, title = 501, "transfer-coding-unsupported", "The body's transfer coding is not supported"


class NoModel(Problem):
    status, slug, title = 503, "no-model", "No model is loaded"


class NotReady(Problem):
    status, slug, title = 503, "not-ready", "The server does not want traffic now"


class ShuttingDown(Problem):
    status, slug, title = 503, "shutting-down", "The server is shutting down"


class IdentityProviderUnavailable(Problem):
    status, slug, title = 503, "identity-provider-unavailable", "The identity provider's keys are not known yet"


class TrackingServerUnavailable(Problem):
    status, slug, title = 503, "tracking-server-unavailable", "The MLflow server does not answer"


class ChildTimedOut(Problem):
    status, slug, title = 504, "timed-out", "The work took longer than it may"


class DiskFull(Problem):
    status, slug, title = 507, "disk-full", "The server's disk is full"


@contextmanager
def disk() -> Iterator[None]:
    """Raises DiskFull where the system says that there is no space."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        detail = "there is no space in FAIRLEAD_DATA_DIR or the temporary directory; send it again later, or make room"
        raise DiskFull(detail, headers={"Retry-After": "60"}) from error


BODY_PROBLEMS: Final = (MalformedBody, BodyTimeout, BodyTooLarge, UnsupportedMediaType, InvalidInput, InternalError)
"""What any route that reads a JSON body may answer."""

_BY_REASON: Final[Mapping[str, type[Problem]]] = {
    # contract.FailureReason
    "ModelNotFound": ModelNotFound,
    "ModelCorrupt": ModelCorrupt,
    "ModelRefused": ModelRefused,
    "ModelUnsupported": ModelUnsupported,
    "VersionMismatch": VersionMismatch,
    "SelfTestFailed": SelfTestFailed,
    "TrackingServerUnavailable": TrackingServerUnavailable,
    "LoadFailed": LoadFailed,
    # contract.TrainingReason
    "InvalidRequest": InvalidInput,
    "UnknownAlgorithm": UnknownAlgorithm,
    "InvalidHyperparameter": InvalidHyperparameter,
    "InvalidData": InvalidData,
    "DiskFull": DiskFull,
    "Cancelled": TrainingCancelled,
    "TrainingFailed": TrainingFailed,
}


def from_child(reason: str, message: str, where: str | None) -> Problem:
    """The problem that a child's failure is to the client."""
    kind = _BY_REASON.get(reason, ChildCrashed)
    errors = [FieldError(pointer=where, detail=message)] if where is not None else []
    headers = {"Retry-After": "5"} if kind is TrackingServerUnavailable else None
    return kind(message, errors, headers)


def failure_reason(error: BaseException) -> FailureReason:
    """Why a load failed, in the words that pods leave for the operator."""
    reasons = [reason for reason in FailureReason if _BY_REASON[reason] is type(error)]
    return reasons[0] if reasons else FailureReason.LOAD_FAILED


def openapi_responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may raise these: one entry a status, one example a kind."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "examples": {}}},
            },
        )
        if kind.title not in response["description"]:
            response["description"] += f"; {kind.title[0].lower()}{kind.title[1:]}"
        response["content"][MEDIA_TYPE]["examples"][kind.slug] = {
            "summary": kind.title,
            "value": {
                "type": f"urn:fairlead:problem:{kind.slug}",
                "title": kind.title,
                "status": kind.status,
                "detail": f"{kind.title}.",
                "instance": "urn:fairlead:request:2f1c6d0e9b3a4c5d8e7f60718293a4b5",
            },
        }
    return responses
