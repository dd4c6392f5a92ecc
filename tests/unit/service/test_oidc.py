"""Tokens of an OpenID Connect provider: which are good, what they may do, and keys that change or are away."""

import asyncio
import base64
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from fairlead_service.access import oidc
from fairlead_service.access.discovery import fetch_keys
from fairlead_service.access.gate import Access
from fairlead_service.access.oidc import Tokens, read_keys
from fairlead_service.access.provider import Provider, identity_of, trustworthy
from fairlead_service.access.roles import Role
from fairlead_service.errors import Forbidden, IdentityProviderUnavailable, Unauthorized
from fairlead_service.following import StaleError, follow
from fairlead_service.settings import Settings
from tests.provider import AUDIENCE, Signer

ISSUER = "https://sso.example.com/realms/ml"
FIRST, SECOND = Signer("first"), Signer("second")
PROVIDER = Provider(ISSUER, AUDIENCE)


class Published:
    """What the provider would answer."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = list(signers)
        self.away = False
        self.asked = 0

    def __call__(self, _: Provider) -> Mapping[str, Any]:
        self.asked += 1
        if self.away:
            raise StaleError("away")
        return {"keys": [signer.public for signer in self.signers]}


def tokens(*signers: Signer, provider: Provider = PROVIDER) -> Tokens:
    found = Tokens(provider, Published(*signers))
    assert found.refresh()
    return found


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("away", [False, True])
def test_a_server_is_not_ready_before_its_provider_was_asked(away: bool) -> None:
    published = Published(FIRST)
    published.away = away
    known = Tokens(PROVIDER, published)
    access = Access(tokens=known)
    assert not access.settled
    with contextlib.suppress(StaleError):
        known.refresh()
    assert access.settled
    assert Access().settled


def test_a_good_token_says_who_and_what() -> None:
    identity = tokens(FIRST).identify(FIRST.sign(ISSUER, roles=["predict", "offline_access"]).encode())
    assert (identity.name, identity.roles) == ("ada", {Role.PREDICT})


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"aud": "billing"}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example.com"}, "is not of https://sso"),
        ({"exp": int(time.time()) - 3600}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": int(time.time()) + 3600}, "not yet valid"),
        ({"sub": None}, "'sub'"),
        ({"sub": {"a": 1}}, "(?i)subject"),
    ],
)
def test_other_tokens_are_refused_with_the_reason(claims: dict[str, Any], said: str) -> None:
    sign: Any = FIRST.sign
    token = sign(claims.pop("iss", ISSUER), roles="admin", **claims)
    with pytest.raises(Unauthorized, match=said):
        tokens(FIRST).identify(token.encode())


def test_a_signature_by_another_key_is_none() -> None:
    forged = FIRST.sign(ISSUER, headers={"kid": "second"}, roles="admin")
    with pytest.raises(Unauthorized, match=r"[Ss]ignature"):
        tokens(FIRST, SECOND).identify(forged.encode())


def test_no_signature_is_none() -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": int(time.time()) + 60, "roles": "admin"}
    for header in ({"alg": "none", "kid": "first"}, {"alg": "HS256", "kid": "first"}):
        with pytest.raises(Unauthorized):
            tokens(FIRST).identify(f"{encoded(header)}.{encoded(claims)}.".encode())


def test_a_public_key_is_no_shared_secret() -> None:
    """The known confusion: a token signed by HMAC with the public key, which everybody has."""
    shared = {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}
    assert list(read_keys({"keys": [shared, FIRST.public]})) == ["first"]
    with pytest.raises(StaleError, match="no key for signatures"):
        read_keys({"keys": [shared]})
    forged = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": 9e9}, b"x" * 32, headers={"kid": "first"})
    with pytest.raises(Unauthorized):
        tokens(FIRST).identify(forged.encode())


def test_elliptic_curves_prove_too() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "curve"}
    found = Tokens(PROVIDER, lambda _: {"keys": [public]})
    found.refresh()
    claims = {"iss": ISSUER, "aud": [AUDIENCE, "other"], "sub": "ada", "exp": int(time.time()) + 60, "roles": "train"}
    assert found.identify(jwt.encode(claims, key, "ES256").encode()).roles == {Role.TRAIN}


@given(st.binary(max_size=300) | st.from_regex(rb"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
def test_nonsense_is_refused(token: bytes) -> None:
    with pytest.raises(Unauthorized):
        tokens(FIRST).identify(token)


def test_a_token_is_proven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tokens(FIRST)
    token = FIRST.sign(ISSUER, roles="predict").encode()
    known.identify(token)
    monkeypatch.setattr(oidc.jwt, "decode", lambda *_, **__: pytest.fail("proven twice"))
    known.identify(token)


def _identify_for(seconds: float, known: Tokens, token: bytes) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        known.identify(token)


def test_a_token_that_was_good_expires() -> None:
    known = tokens(FIRST)
    almost = int(time.time()) - oidc.LEEWAY_SECONDS + 2
    token = FIRST.sign(ISSUER, roles="predict", exp=almost).encode()
    known.identify(token)
    with pytest.raises(Unauthorized, match="expired"):
        _identify_for(10, known, token)


def test_keys_are_followed_and_a_key_that_is_gone_proves_nothing() -> None:
    published, now = Published(FIRST), [0.0]
    known = Tokens(PROVIDER, published, clock=lambda: now[0])
    assert known.refresh()
    assert not known.refresh()
    assert published.asked == 1
    old, new = (signer.sign(ISSUER, roles="predict").encode() for signer in (FIRST, SECOND))
    known.identify(old)
    published.signers = [SECOND]
    with pytest.raises(Unauthorized, match="new"):
        known.identify(new)
    assert not known.refresh(), "not more often than every ten seconds"
    now[0] += oidc.RETRY_SECONDS
    assert known.refresh(), "a key that is unknown is asked for"
    known.identify(new)
    assert not known.refresh()
    now[0] += oidc.REFRESH_SECONDS - 1
    assert not known.refresh()
    assert published.asked == 2
    with pytest.raises(Unauthorized):
        known.identify(old)


def test_a_provider_that_is_away_is_told_once_and_its_keys_stay_good() -> None:
    published, now = Published(FIRST), [0.0]
    published.away = True
    known = Tokens(PROVIDER, published, clock=lambda: now[0])
    token = FIRST.sign(ISSUER, roles="predict").encode()
    with pytest.raises(StaleError, match="away"):
        known.refresh()
    with pytest.raises(IdentityProviderUnavailable) as refusal:
        known.identify(token)
    assert refusal.value.headers["Retry-After"] == "5"
    now[0] += oidc.RETRY_SECONDS
    assert not known.refresh(), "told before"
    published.away = False
    now[0] += oidc.RETRY_SECONDS
    assert known.refresh()
    published.away = True
    now[0] += oidc.REFRESH_SECONDS
    with pytest.raises(StaleError):
        known.refresh()
    assert known.identify(token).name == "ada"


@pytest.mark.parametrize(
    ("claim", "claims", "mapping", "roles"),
    [
        ("roles", {"roles": ["train", "predict"]}, None, {Role.TRAIN, Role.PREDICT}),
        ("scope", {"scope": "openid predict"}, None, {Role.PREDICT}),
        ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, None, {Role.ADMIN}),
        ("https://example.com/roles", {"https://example.com/roles": ["predict"]}, None, {Role.PREDICT}),
        ("groups", {"groups": ["ml", "x"]}, {"ml": frozenset({Role.TRAIN, Role.PREDICT})}, {Role.TRAIN, Role.PREDICT}),
        ("groups", {"groups": ["admin"]}, {"ml": frozenset({Role.TRAIN})}, set()),
        ("sub", {}, {"ada": frozenset({Role.PREDICT})}, {Role.PREDICT}),
        ("roles", {"roles": {"admin": True}}, None, set()),
        ("roles", {"roles": [["admin"], 1, None]}, None, set()),
        ("a.b", {"a": "admin"}, None, set()),
    ],
)
def test_what_claims_stand_for(
    claim: str, claims: dict[str, Any], mapping: Mapping[str, frozenset[Role]] | None, roles: set[Role]
) -> None:
    provider = Provider(ISSUER, AUDIENCE, roles_claim=claim, roles=mapping)
    assert identity_of({"sub": "ada"} | claims, provider).roles == roles


def test_a_token_without_a_role_opens_nothing() -> None:
    access = Access(tokens=tokens(FIRST))
    token = f"Bearer {FIRST.sign(ISSUER)}".encode()
    for method, path in (("GET", "/model/info"), ("POST", "/predict")):
        with pytest.raises(Forbidden, match="'ada' lacks"):
            access.admit(token, method, path)
    access.admit(token, "GET", "/health")


def test_only_what_nobody_can_change_is_asked() -> None:
    assert trustworthy("https://sso.example.com/x")
    assert trustworthy("http://127.0.0.1:8080")
    for url in ("http://sso.example.com", "file:///etc/passwd", "https://", "http://localhost.evil.com", ""):
        assert not trustworthy(url), url


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"oidc_issuer": "https://a.example.com"}, "FAIRLEAD_OIDC_AUDIENCE"),
        ({"oidc_audience": "fairlead"}, "FAIRLEAD_OIDC_ISSUER"),
        ({"oidc_issuer": "http://a.example.com", "oidc_audience": "fairlead"}, "https"),
        ({"oidc_issuer": "https://a", "oidc_audience": "b", "oidc_roles": {"ml": ["boss"]}}, "predict"),
        ({"tls_cert_file": "/a"}, "FAIRLEAD_TLS_KEY_FILE"),
        ({"tls_client_ca_file": "/a"}, "FAIRLEAD_TLS_CERT_FILE"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**values)


HOSTILE = [
    10**400,
    -(10**400),
    1e400,
    float("nan"),
    "1e400",
    "9" * 4000,
    "x",
    None,
    True,
    [],
    {},
    [[]],
    2**63,
    2**64,
    1e18,
]


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "aud", "iss", "sub", "roles", "jti"])
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
def test_whatever_is_in_a_token_is_a_token_or_none(claim: str, value: Any) -> None:
    """Signed by the provider, so that every claim is looked at."""
    known = tokens(FIRST)
    token = signed({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 60} | {claim: value})
    try:
        identity = known.identify(token)
    except Unauthorized:
        return
    assert identity.name
    assert known.identify(token) == identity, "it is remembered"


def test_a_token_without_end_is_refused_or_good_for_ever() -> None:
    known = tokens(FIRST)
    for expires in (10**15, 10**400):
        try:
            assert known.identify(signed({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": expires})).name == "ada"
        except Unauthorized:
            assert expires == 10**400


@pytest.mark.parametrize("depth", [10, 5000])
def test_heads_of_tokens_are_refused_however_deep(depth: int) -> None:
    head = base64.urlsafe_b64encode(b'{"kid":' + b"[" * depth + b"]" * depth + b"}").rstrip(b"=")
    with pytest.raises(Unauthorized):
        tokens(FIRST).identify(head + b".e30.AA")


def signed(payload: dict[str, Any]) -> bytes:
    """As the provider would, but of any JSON: infinities and numbers of any length among it."""
    head = {"alg": "RS256", "kid": FIRST.kid}
    with unlimited_digits():
        content = f"{encoded(head)}.{encoded(payload)}"
    return FIRST.sign_content(content)


@contextlib.contextmanager
def unlimited_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("drip", ["handshake", "head", "body"])
def test_a_provider_that_drips_is_given_up(drip: str) -> None:
    with dripping(drip) as address:
        started = time.monotonic()
        scheme = "https" if drip == "handshake" else "http"
        provider = Provider("https://sso.example.com", AUDIENCE, jwks_url=f"{scheme}://{address}/keys")
        with pytest.raises(StaleError, match=r"did not arrive in 0\.3 s"):
            fetch_keys(provider, seconds=0.3)
        assert time.monotonic() - started < 30, "each byte came in time"


@contextlib.contextmanager
def dripping(what: str) -> Iterator[str]:
    """A server that sends a byte every 20 ms, for ever."""
    stop = threading.Event()
    first = {
        "handshake": b"\x16\x03\x03\x40\x00",
        "head": b"HTTP/1.1 200 OK\r\nX: ",
        "body": b"HTTP/1.1 200 OK\r\n\r\n",
    }[what]

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(first)
            while not stop.wait(0.02):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listening.getsockname()
        yield f"{host}:{port}"
        stop.set()
        thread.join()


def test_certificates_that_can_not_be_read_are_said_to_be_that(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pem", tmp_path):
        provider = Provider(ISSUER, AUDIENCE, ca_file=path)
        with pytest.raises(StaleError, match="is no file of certificates"):
            fetch_keys(provider)


class Slow:
    """A source that takes as long as it is let."""

    name = "slow things"

    def __init__(self) -> None:
        self.release = threading.Event()

    def refresh(self) -> bool:
        self.release.wait(60)
        return False


async def test_a_slow_source_keeps_no_other_from_being_read() -> None:
    slow, quick = Slow(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Quick:
        name = "quick things"

        def refresh(self) -> bool:
            loop.call_soon_threadsafe(quick.set)
            return False

    tasks = [asyncio.create_task(follow(source, 0.001)) for source in (slow, Quick())]
    await asyncio.sleep(0)
    for _ in range(3):
        quick.clear()
        await asyncio.wait_for(quick.wait(), 30)
    slow.release.set()
    for task in tasks:
        task.cancel()
