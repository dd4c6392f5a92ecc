"""Tokens of an OpenID Connect provider: JSON Web Tokens (RFC 7519) that its public keys (RFC 7517) prove.

The provider is asked for its keys, never about a token, so a provider that is away costs nobody a request. Imported
only where a provider is configured: the cryptography takes 10 MB of memory.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt

from fairlead_service.access.discovery import fetch_keys
from fairlead_service.access.provider import Provider, identity_of
from fairlead_service.access.roles import Identity, refused
from fairlead_service.errors import IdentityProviderUnavailable
from fairlead_service.following import StaleError

_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures that only the provider can make. Not HMAC, whose key would be one that everybody may read."""
REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 10.0
"""After a failure, and for a token whose key is unknown: providers publish a key some time before they use it."""
LEEWAY_SECONDS: Final = 30
_REMEMBERED: Final = 4096
_LONGEST_TOKEN: Final = 16_384
_LATEST: Final = 2**53
"""Seconds since 1970."""


class Tokens:
    """What is known of a provider."""

    name = "OpenID Connect keys"

    def __init__(
        self,
        provider: Provider,
        fetch: "Callable[[Provider], Mapping[str, Any]] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` gives the provider's JSON Web Key Set, or raises StaleError."""
        self._provider = provider
        self._fetch = fetch or fetch_keys
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._good: dict[bytes, tuple[float, Identity]] = {}
        """Until when (Unix time) tokens are good that were proven, by digest: RSA takes as long as a prediction."""
        self._due = self._clock()
        self._tried = float("-inf")
        self._failure: str | None = None
        self.asked = False
        """Whether the provider has been asked for its keys at least once, and has answered or failed to."""

    def refresh(self) -> bool:
        """Asks for the keys if that is due; returns whether they are others. Raises StaleError, once for each cause.
        Blocks."""
        now = self._clock()
        if now < max(self._due, self._tried + RETRY_SECONDS):
            return False
        self._tried = now
        try:
            found = read_keys(self._fetch(self._provider))
        except StaleError as error:
            self.asked = True
            told, self._failure = self._failure, str(error)
            if told == self._failure:
                return False
            raise
        self._due, self._failure = now + REFRESH_SECONDS, None
        changed = _fingerprints(found) != _fingerprints(self._keys)
        if changed:
            self._keys, self._good = found, {}
        self.asked = True
        return changed

    def identify(self, token: bytes) -> Identity:
        """Raises Unauthorized, IdentityProviderUnavailable."""
        digest = hashlib.sha256(token).digest()
        until, identity = self._good.get(digest, (0.0, None))
        if identity is not None and time.time() < until:
            return identity
        self._good.pop(digest, None)
        claims = self._claims(token)
        identity = identity_of(claims, self._provider)
        while len(self._good) >= _REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[digest] = (_until(claims["exp"]), identity)
        return identity

    def _claims(self, token: bytes) -> Mapping[str, Any]:
        if len(token) > _LONGEST_TOKEN:
            raise refused(f"the token is longer than {_LONGEST_TOKEN} bytes")
        if not self._keys:
            detail = f"the keys of {self._provider.issuer} could not be read yet; try again in some seconds"
            raise IdentityProviderUnavailable(detail, headers={"Retry-After": "5"})
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise refused("the token has expired; ask the provider for another") from None
        except jwt.InvalidAudienceError:
            raise refused(f"the token is for others: its `aud` lacks {self._provider.audience!r}") from None
        except jwt.InvalidIssuerError:
            raise refused(f"the token is not of {self._provider.issuer}") from None
        except jwt.PyJWTError as error:
            raise refused(f"the token is no good: {error}") from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            # Of what stands in a token anyone may have written: numbers without end, lists in lists in lists.
            raise refused("the token is no good: its header or its claims are not what they must be") from None

    def _key(self, wanted: object) -> jwt.PyJWK:
        """A token needs to name its key only where there are several."""
        if wanted is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        key = self._keys.get(wanted) if isinstance(wanted, str) else None
        if key is None:
            self._due = self._clock()  # it may be new
            raise refused(f"the token's key is none of {self._provider.issuer}; is it new, try again in a moment")
        return key


def _until(expires: Any) -> float:
    """Until when a token is good whose `exp` was found to be a whole number of seconds, or one in a string."""
    return float(min(int(expires), _LATEST)) + LEEWAY_SECONDS


def read_keys(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that can prove signatures, by their ids, of a JSON Web Key Set. Raises StaleError if there are none."""
    found: dict[str, jwt.PyJWK] = {}
    entries = document.get("keys")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue  # of a kind that nobody here can read
        if key.algorithm_name in _ALGORITHMS:
            found[key.key_id or f"#{number}"] = key
    if not found:
        raise StaleError(f"no key for signatures is in the key set; {', '.join(sorted(_ALGORITHMS))} can be proven")
    return found


def _fingerprints(keys: Mapping[str, jwt.PyJWK]) -> dict[str, object]:
    return {name: (key.algorithm_name, key.key) for name, key in keys.items()}
