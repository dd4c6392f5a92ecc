"""Lets clients in by what they send as bearer: an API key, a token of the identity provider, or the load token.

Off unless a file of keys or a provider is configured.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fairlead_service import contract
from fairlead_service.access.keys import KeyFile
from fairlead_service.access.provider import Provider
from fairlead_service.access.roles import Identity, Need, Open, needed, refused
from fairlead_service.errors import Forbidden, Unauthorized
from fairlead_service.inference.body import Headers
from fairlead_service.observability import logs
from fairlead_service.settings import Settings

if TYPE_CHECKING:
    from fairlead_service.access.oidc import Tokens
    from fairlead_service.following import Source

LOAD_TOKEN: Final = "load-token"
"""The subject of whoever sends the load token."""
_OPERATORS: Final = frozenset({contract.INFO_PATH, contract.LOAD_PATH, contract.SAMPLES_PATH, contract.PREDICT_PATH})
"""What the load token opens: all that the operator asks of a pod."""


class Access:
    """`load_tokens` are digests."""

    def __init__(
        self, keys: KeyFile | None = None, tokens: "Tokens | None" = None, load_tokens: frozenset[bytes] = frozenset()
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._load_tokens = load_tokens

    @property
    def on(self) -> bool:
        return self._keys is not None or self._tokens is not None

    @property
    def wants_load_token(self) -> bool:
        """Of whom loads or reads samples, where nobody is asked who they are."""
        return bool(self._load_tokens) and not self.on

    @property
    def settled(self) -> bool:
        """Whether tokens can be told apart, or their provider is known to be away: a server that has not asked yet
        would refuse every one of them."""
        return self._tokens is None or self._tokens.asked

    @property
    def sources(self) -> "list[Source]":
        """What has to be followed."""
        return [source for source in (self._keys, self._tokens) if source is not None]

    def admit(self, authorization: bytes | None, method: str, template: str) -> None:
        """Sets the subject of audit lines. Raises Unauthorized, Forbidden, IdentityProviderUnavailable."""
        if not self.on:
            return
        logs.subject.set(None)
        need = needed(method, template)
        if need is not Open.ANYBODY:
            logs.subject.set(self._subject(authorization, need, template))

    def guarded(self, check: Callable[[Headers], None], template: str) -> Callable[[Headers], None]:
        """`check`, after the question whether the client may POST to `template`; `check` itself where nobody is asked,
        so that it costs nothing there."""
        if not self.on:
            return check

        def checked(headers: Headers) -> None:
            self.admit(headers.get(b"authorization"), "POST", template)
            check(headers)

        return checked

    def _subject(self, authorization: bytes | None, need: Need, template: str) -> str:
        scheme, _, sent = (authorization or b"").partition(b" ")
        token = sent.strip()
        if scheme.lower() != b"bearer" or not token:
            detail = f"send {self._wanted}: `Authorization: Bearer …`"
            raise Unauthorized(detail, headers={"WWW-Authenticate": "Bearer"})
        if template in _OPERATORS and self.is_load_token(token):
            return LOAD_TOKEN
        identity = self._identity(token)
        if not identity.may(need):
            detail = f"{identity.name!r} lacks the role {need.value!r}, which this path needs; ask for it"
            raise Forbidden(detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
        return identity.name

    def is_load_token(self, token: bytes) -> bool:
        """Digests are compared, and all of them: how long that takes tells nothing of what is right."""
        given = hashlib.sha256(token).digest()
        return any([hmac.compare_digest(given, digest) for digest in self._load_tokens])

    @property
    def _wanted(self) -> str:
        known = ("an API key", self._keys), ("a token of the identity provider", self._tokens)
        return " or ".join(what for what, source in known if source is not None)

    def _identity(self, token: bytes) -> Identity:
        if self._keys is not None and (identity := self._keys.find(token)) is not None:
            return identity
        if self._tokens is not None and (self._keys is None or token.count(b".") == 2):
            return self._tokens.identify(token)
        raise refused(f"the credential is unknown or no longer good; send {self._wanted}")


def access(settings: Settings) -> Access:
    """As the settings want it. Raises StaleError if the keys can't be read; the provider may be away."""
    keys = None if settings.api_keys_file is None else KeyFile(settings.api_keys_file)
    return Access(keys, _tokens(settings), frozenset(_load_tokens(settings)))


def _tokens(settings: Settings) -> "Tokens | None":
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    from fairlead_service.access.oidc import Tokens  # only then: see there

    return Tokens(
        Provider(
            settings.oidc_issuer,
            settings.oidc_audience,
            settings.oidc_jwks_url,
            settings.oidc_ca_file,
            settings.oidc_subject_claim,
            settings.oidc_roles_claim,
            settings.oidc_roles,
        )
    )


def _load_tokens(settings: Settings) -> list[bytes]:
    """Digests of the tokens that are right."""
    found = []
    if settings.load_token is not None:
        found.append(hashlib.sha256(settings.load_token.get_secret_value().encode()).digest())
    if settings.load_token_sha256 is not None:
        found.append(bytes.fromhex(settings.load_token_sha256))
    return found
