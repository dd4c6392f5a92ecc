"""An OpenID Connect provider: signs tokens, and answers over HTTP where its keys are."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "fairlead"


class Signer:
    """One key of a provider."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def public(self) -> dict[str, Any]:
        """As JSON Web Key."""
        key: dict[str, Any] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return key | {"kid": self.kid, "use": "sig", "alg": "RS256"}

    def sign(self, issuer: str, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good for a minute, but for what `claims` say; a claim that is None is left out."""
        now = int(time.time())
        wanted = {"iss": issuer, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 60} | claims
        payload = {name: value for name, value in wanted.items() if value is not None}
        return jwt.encode(payload, self._key, algorithm="RS256", headers={"kid": self.kid} | (headers or {}))

    def sign_content(self, content: str) -> bytes:
        """The token with this head and payload, whatever they are."""
        signature = self._key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{content}.".encode() + base64.urlsafe_b64encode(signature).rstrip(b"=")


class Provider:
    """`issuer` is where it answers; `signers` are those whose keys it publishes now."""

    def __init__(self, issuer: str, *signers: Signer) -> None:
        self.issuer = issuer
        self.signers = list(signers)
        self.asked: list[str] = []

    def answer(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        return {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"},
            "/keys": {"keys": [signer.public for signer in self.signers]},
        }.get(path)


@contextlib.contextmanager
def serving(*signers: Signer) -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = provider.answer(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}", *signers)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
