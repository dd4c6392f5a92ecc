"""What FastAPI's routes ask of their clients: a credential where those are configured (`access`), and without it
the load token, for swapping a predictor's model and for reading rows of its users."""

from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

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
    if not services.access.wants_load_token:  # nobody is asked, or `guard` has
        return
    if credentials is None or not services.access.is_load_token(credentials.credentials.encode()):
        detail = "send the server's load token: `Authorization: Bearer TOKEN`"
        raise Unauthorized(detail, headers={"WWW-Authenticate": "Bearer"})
