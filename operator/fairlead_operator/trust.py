"""Whom the operator trusts among pods that speak TLS, and the certificate that it comes with."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_Stamps = list[int]


class TrustError(Exception):
    """A file can't be used; the message says which, and why."""


class Trust:
    """`context` holds what the files hold now: cert-manager writes new ones in good time, and kubelet mounts them."""

    def __init__(self, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> None:
        """Without `ca` the system's authorities are trusted; `certificate` and `key` are for pods that ask for one.
        Raises TrustError."""
        self._ca, self._certificate, self._key = ca, certificate, key
        self._files = [path for path in (ca, certificate, key) if path is not None]
        self._stamps = self._look()
        with _naming(ca):
            self.context = ssl.create_default_context(cafile=ca)
        self._present()

    def refresh(self) -> None:
        """Takes up files that changed, if they can be used; else those of before stay in use. Looks at the disk, which
        is the kernel's memory for files so small."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        try:
            if self._ca is not None:
                with _naming(self._ca):
                    self.context.load_verify_locations(self._ca)
            self._present()
        except TrustError:
            return  # half written, or spoilt: asked again at the next request
        self._stamps = stamps

    def _present(self) -> None:
        if self._certificate is None:
            return
        with _naming(f"{self._certificate} with {self._key}"):
            self.context.load_cert_chain(self._certificate, self._key)

    def _look(self) -> _Stamps:
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in self._files]


@contextmanager
def _naming(what: object) -> Iterator[None]:
    """OpenSSL's own words do not say which file they are about."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise TrustError(f"{what}: {error}") from None
