"""JSON lines between a child process (loader, trainer) and whoever started it.

A child prints any number of `progress` lines, then exactly one `result` or `failure`, on its standard output. In a
pod the same lines are the init container's log. Everything else a child or its libraries print goes to stderr.
"""

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Progress(_Message):
    kind: Literal["progress"] = "progress"
    stage: str
    """One word: fetch, check, compile, prove, write; validate, fit, evaluate, log."""
    message: str = ""


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

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def take_stdout(cls) -> "Channel":
        protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(protocol)

    def send(self, message: Progress | Result | Failure) -> None:
        self._stream.write(message.model_dump_json(exclude_none=True) + "\n")
        self._stream.flush()
