"""What FastAPI's routes ask of their clients: a credential where those are configured (`access`), and without it
the load token, for swapping a predictor's model and for reading rows of its users."""

import hashlib
import hmac
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fairlead_service.access.gate import load_tokens
from fairlead_service.api.services import Use
from fairlead_service.errors import Unauthorized

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="load token", description="Asked for where the server was given one"
)


async def guard(request: Request, services: Use) -> None:
    """Of every route. Raises Unauthorized, Forbidden."""
    if services.access.on:
        header = request.headers.get("authorization")
        given = None if header is None else header.encode("latin-1")
        services.access.admit(given, request.method, request.scope["route"].path)


async def authorized(
    services: Use, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> None:
    """Raises Unauthorized."""
    wanted = load_tokens(services.settings)
    if not wanted or services.access.on:  # then `guard` has asked
        return
    given = hashlib.sha256(credentials.credentials.encode()).digest() if credentials else b""
    if not any([hmac.compare_digest(given, digest) for digest in wanted]):
        detail = "send the server's load token: `Authorization: Bearer TOKEN`"
        raise Unauthorized(detail, headers={"WWW-Authenticate": "Bearer"})
