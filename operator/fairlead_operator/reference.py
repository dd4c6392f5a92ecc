"""What `spec.model` refers to, and what looking it up can yield: plain values, no I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_operator.api import ModelRef, Reason, Status
from fairlead_operator.spec import ModelSource

DEFAULT_PATH = "model"
"""Where a run keeps its model when only `runID` is given."""

_ALIAS = re.compile(r"models:/(?P<name>[^/@:]+)@(?P<alias>[^/@:]+)")
_VERSION = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>[1-9][0-9]*)")
_LOGGED_MODEL = re.compile(r"models:/(?P<model_id>m-[0-9a-f]{32})")
_RUN = re.compile(r"runs:/(?P<run_id>[0-9a-f]{32})/(?P<path>[^/].*?)/*")


@dataclass(frozen=True)
class AliasReference:
    """May mean another model tomorrow: polled."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}"


@dataclass(frozen=True)
class VersionReference:
    name: str
    version: str

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class LoggedModelReference:
    model_id: str

    def __str__(self) -> str:
        return f"models:/{self.model_id}"


@dataclass(frozen=True)
class RunReference:
    run_id: str
    path: str

    def __str__(self) -> str:
        return f"runs:/{self.run_id}/{self.path}"


FixedReference = VersionReference | LoggedModelReference | RunReference
"""Means the same for ever."""
Reference = AliasReference | FixedReference


LATEST = "latest"
"""The alias that MLflow itself keeps on the newest version."""


@dataclass(frozen=True)
class RegisteredModel:
    """What the registry says about one name."""

    name: str
    created: int
    """Milliseconds since 1970: another value is another model under the same name."""
    aliases: Mapping[str, str]
    """Alias to version."""
    newest: str | None = None

    def version_of(self, alias: str) -> str | None:
        return self.newest if alias.lower() == LATEST else self.aliases.get(alias)


@dataclass(frozen=True)
class Resolved:
    model: ModelRef


@dataclass(frozen=True)
class Problem:
    reason: Reason
    message: str
    retry_after: float | None = None
    """Seconds until it is worth asking again; None when something else will say so (the alias poll)."""

    @property
    def passing(self) -> bool:
        """Whether time alone may mend it."""
        return self.reason is Reason.TRACKING_SERVER_UNAVAILABLE


Resolution = Resolved | Problem


def parse(source: ModelSource) -> Reference:
    """Raises ValueError for a URI the schema would not have let in."""
    if source.run_id is not None:
        return RunReference(source.run_id, DEFAULT_PATH)
    uri = source.uri or ""
    if found := _ALIAS.fullmatch(uri):
        return AliasReference(**found.groupdict())
    if found := _VERSION.fullmatch(uri):
        return VersionReference(**found.groupdict())
    if found := _LOGGED_MODEL.fullmatch(uri):
        return LoggedModelReference(**found.groupdict())
    if found := _RUN.fullmatch(uri):
        return RunReference(**found.groupdict())
    raise ValueError(f"{uri!r} must be models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-ID or runs:/RUN_ID/PATH")


def known(reference: Reference, status: Status) -> ModelRef | None:
    """The answer that the status already holds. A run or a version cannot change, so it is never looked up twice, and
    an operator that restarts while MLflow is down knows as much as before."""
    if isinstance(reference, AliasReference):
        return None
    for record in (status.candidate, status.serving, *status.rejected):
        if record is not None and record.model_uri == str(reference):
            return record.ref().model_copy(update={"alias": None})
    return None
