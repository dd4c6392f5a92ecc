"""JSON lines between a child process (loader, trainer) and whoever started it.

A child prints any number of `progress` lines, then exactly one `result` or `failure`, on its standard output. In a
pod the same lines are the init container's log, so they have the form of log lines (docs/logs.schema.json), too.
Everything else a child or its libraries print goes to stderr.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fairlead_service.addresses import shown
from fairlead_service.observability.form import encode, line

CacheOutcome = Literal["hit", "miss", "stored", "corrupt", "error", "unavailable"]
"""Of a request to the bundle cache."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Progress(_Message):
    kind: Literal["progress"] = "progress"
    stage: str
    """One word: cache, fetch, check, compile, prove, write; read, validate, search, fit, evaluate, plot, log."""
    message: str = ""
    percent: float | None = None
    """How far a training is."""
    metrics: Mapping[str, float] | None = None
    """Those of a training that are known so far."""
    run_id: str | None = None
    """The MLflow run of a training, once there is one."""
    cache: CacheOutcome | None = None
    """What became of a request to the bundle cache."""

    @property
    def level(self) -> int:
        """Of logging's: a cache that fails costs time and no load."""
        return logging.WARNING if self.cache in ("corrupt", "error", "unavailable") else logging.INFO


class Result(_Message):
    kind: Literal["result"] = "result"
    value: Mapping[str, Any]


class Failure(_Message):
    """The child could not do it. `reason` is a `contract.FailureReason` or `TrainingReason`."""

    kind: Literal["failure"] = "failure"
    reason: str
    message: str
    """A sentence for people: what is wrong, where, what to do instead."""
    where: str | None = None
    """The field of the request at fault, as a JSON pointer (`/hyperparameters/max_depth`)."""


Message = Annotated[Progress | Result | Failure, Field(discriminator="kind")]
_adapter: TypeAdapter[Progress | Result | Failure] = TypeAdapter(Message)


def parse(line: bytes | str) -> Progress | Result | Failure:
    """Reads one line; raises ValueError if it is not a message."""
    return _adapter.validate_json(line)


class Channel:
    """The child's end. Taking it redirects descriptor 1 to stderr, so that no library can write into the protocol."""

    def __init__(self, stream: TextIO, service: str) -> None:
        self._stream = stream
        self._service = service

    @classmethod
    def take_stdout(cls, service: str) -> "Channel":
        protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(protocol, service)

    def send(self, message: Progress | Result | Failure) -> None:
        self._stream.write(as_line(message, self._service, time.time()).decode() + "\n")
        self._stream.flush()


def as_line(message: Progress | Result | Failure, service: str, now: float) -> bytes:
    """The message as a log line, without its break; `now` is in seconds since 1970."""
    level = logging.ERROR if isinstance(message, Failure) else logging.INFO
    if isinstance(message, Progress):
        level = message.level
    if not isinstance(message, Result):
        message = message.model_copy(update={"message": shown(message.message)})
    form = line(now, level, message.kind, "done", service, "fairlead")
    return encode(form | message.model_dump(exclude_none=True))
