"""The one token there is: for swapping a predictor's model and for reading rows of its users."""

import hashlib
import hmac
from typing import Annotated, Final

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fairlead_service.api.services import Use
from fairlead_service.errors import Unauthorized
from fairlead_service.settings import Settings

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="load token", description="Asked for where the server was given one"
)


async def authorized(
    services: Use, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> None:
    """Raises Unauthorized."""
    wanted = _wanted(services.settings)
    if not wanted:
        return
    given = hashlib.sha256(credentials.credentials.encode()).digest() if credentials else b""
    if not any([hmac.compare_digest(given, digest) for digest in wanted]):
        detail = "send the server's load token: `Authorization: Bearer TOKEN`"
        raise Unauthorized(detail, headers={"WWW-Authenticate": "Bearer"})


def _wanted(settings: Settings) -> list[bytes]:
    """Digests of the tokens that are right. Comparing digests takes the same time whatever was sent."""
    found = []
    if settings.load_token is not None:
        found.append(hashlib.sha256(settings.load_token.get_secret_value().encode()).digest())
    if settings.load_token_sha256 is not None:
        found.append(bytes.fromhex(settings.load_token_sha256))
    return found
