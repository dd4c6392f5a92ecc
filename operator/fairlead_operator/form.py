"""What spec and status have in common: names as Kubernetes writes them, times with a zone, nothing that changes."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

_ACRONYMS: Final = ("ca", "id", "uri", "url")


def _parse_time(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _print_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, BeforeValidator(_parse_time), PlainSerializer(_print_time)]
"""A point in time with a zone, in whole seconds once written."""


def to_json_name(name: str) -> str:
    """`run_id` is `runID` and `model_uri` is `modelURI`: acronyms keep one case (Kubernetes API conventions)."""
    first, *others = name.split("_")
    return first + "".join(part.upper() if part in _ACRONYMS else part.capitalize() for part in others)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_json_name, populate_by_name=True, extra="ignore")


class Strict(Frozen):
    model_config = ConfigDict(extra="forbid")
