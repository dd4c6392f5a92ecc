"""Whether there are spans, and of what: by OpenTelemetry's variables, before any of it is imported."""

import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACES_PATH: Final = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which work gets a span, as OpenTelemetry's samplers decide it, but before anything is allocated."""

    ratio: float
    """Of work whose caller did not decide."""
    parent_based: bool
    """Whether the caller's decision counts."""

    def decide(self, parent: bytes | None) -> bool:
        """By the caller's `traceparent`, if there is one."""
        if parent is not None and self.parent_based:
            match = _TRACEPARENT.fullmatch(parent)
            if match is not None:
                return bool(int(match[2], 16) & 1)
        return self.ratio >= 1 or random.random() < self.ratio

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Sampling":
        """Of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; everything that has no parent if they are not set
        or not one of the standard names."""
        name = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").strip().lower()
        kind = name.removeprefix("parentbased_")
        try:
            argument = float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))
        except ValueError:
            argument = 1.0
        ratio = {"always_off": 0.0, "traceidratio": min(max(argument, 0.0), 1.0)}.get(kind, 1.0)
        return cls(ratio, parent_based=name.startswith("parentbased_"))


def exported(environment: Mapping[str, str]) -> bool:
    """Whether spans have somewhere to go."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in _ENDPOINTS)


def address(environment: Mapping[str, str]) -> str | None:
    """Where spans are sent by OTLP over HTTP: the address for traces as it is, or the one for all signals with the path
    of traces, which many put there themselves."""
    general, own = (environment.get(name, "").strip() for name in _ENDPOINTS)
    base = general.rstrip("/")
    return own or (base if base.endswith(_TRACES_PATH) else f"{base}{_TRACES_PATH}" if base else None)


def shown(address: str | None) -> str:
    """An address for a log line: without a password or what stands for one."""
    parts = urlsplit(address or "")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else "no address"


def trace_id_of(parent: bytes | None) -> str | None:
    """The trace id in a `traceparent` header, if it is one."""
    match = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    return match[1].decode() if match is not None else None


def not_sampled() -> str:
    """A `traceparent` that says only that its receiver shall not sample either."""
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-00"
