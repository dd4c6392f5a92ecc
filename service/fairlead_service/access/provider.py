"""What is configured of an OpenID Connect provider, and what the claims of its tokens mean here. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fairlead_service.access.roles import Identity, Role, refused

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Provider:
    issuer: str
    audience: str
    """What `aud` of a token has to name, so that tokens for other services are none for this one."""
    jwks_url: str | None = None
    """None: what the provider's `/.well-known/openid-configuration` says."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    subject_claim: str = "sub"
    roles_claim: str = "roles"
    """Its name, or a path to it with dots, as in `realm_access.roles`."""
    roles: Mapping[str, frozenset[Role]] | None = None
    """What values of the claim stand for; None: values that are names of roles stand for those."""


def identity_of(claims: Mapping[str, Any], provider: Provider) -> Identity:
    """Of a token that is proven. Raises Unauthorized."""
    subject = _claim(claims, provider.subject_claim)
    if not isinstance(subject, str) or not subject:
        raise refused(f"the token has no claim {provider.subject_claim!r}, which says whose it is")
    return Identity(subject[:256], _roles(claims, provider))


def _roles(claims: Mapping[str, Any], provider: Provider) -> frozenset[Role]:
    """What the token's values of the roles' claim stand for; values that stand for nothing are passed over."""
    values = _claim(claims, provider.roles_claim)
    named = values.split() if isinstance(values, str) else values if isinstance(values, list) else []
    known = provider.roles if provider.roles is not None else {role.value: frozenset({role}) for role in Role}
    return frozenset(role for value in named if isinstance(value, str) for role in known.get(value, ()))


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """By its name, which may have dots, or by a path."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def trustworthy(url: str) -> bool:
    """Whether keys from there are the provider's: by https, or from the machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        return parts.hostname in _LOOPBACK
    return parts.scheme == "https" and bool(parts.hostname)
