"""What the port without TLS answers once there is one with TLS: probes and scrapers, which carry no row of a user."""

from typing import Final, NoReturn

from starlette.types import Scope

from fairlead_service import contract
from fairlead_service.api.services import Services
from fairlead_service.errors import TlsRequired
from fairlead_service.inference.body import Headers
from fairlead_service.inference.raw import Call, RawEndpoint, Reply

_ANSWERED: Final = frozenset(
    {"/health", contract.LIVE_PATH, contract.READY_PATH, contract.METRICS_PATH, "/v2/health/live", "/v2/health/ready"}
)
_TEMPLATE: Final = "(plain)"
"""In metrics: paths that are refused are no routes."""


def refused(scope: Scope) -> bool:
    return scope["scheme"] == "http" and scope["path"] not in _ANSWERED


def refusal(services: Services) -> RawEndpoint:
    port = services.settings.tls_port

    def check(_: Headers) -> NoReturn:
        raise TlsRequired(f"this port answers probes and metrics only; use https, port {port}")

    async def handle(_: Call) -> Reply:
        raise AssertionError("check refuses all")

    return RawEndpoint(
        _TEMPLATE,
        handle,
        services.observer,
        limit=0,
        seconds=0,
        check=check,
        admission=services.admission,
        decoder=services.decoder,
    )
