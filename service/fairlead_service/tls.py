"""TLS of the server's second port: the certificate, and whose clients' certificates are good."""

import ssl
from pathlib import Path
from typing import Final

from fairlead_service.following import StaleError, stamp

HANDSHAKE_SECONDS: Final = 10.0


class Certificates:
    """`context` serves what the files hold now. With `client_ca`, clients need a certificate of their own."""

    name = "TLS certificates"

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises StaleError."""
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._files = [path for path in (certificate, key, client_ca) if path is not None]
        self._stamps = [stamp(path) for path in self._files]
        self.context = self._read()

    def refresh(self) -> bool:
        """Takes up files that changed; handshakes from then on use them. An authority of clients that is no longer in
        its file stays good until the server starts again: OpenSSL has no way to withdraw one. Raises StaleError, once
        for each change. Blocks on the disk."""
        stamps = [stamp(path) for path in self._files]
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        self._read()  # a pair that does not match would spoil the context in use
        self._load(self.context)
        return True

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise StaleError(f"{self._certificate} with {self._key}: {_said(error)}") from None
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ssl.SSLError) as error:
                raise StaleError(f"{self._client_ca}: {_said(error)}") from None


def _said(error: OSError) -> str:
    """`SSLError` is an OSError whose text names a line of CPython's source."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM of that kind").replace("_", " ").lower()
    return error.strerror or str(error)
