"""A bundle as one blob: a seal, its manifest, its files one after the other. Pure, but for reading the bundle.

The seal is the SHA-256 of the key and all that follows: it says that the blob is whole and the answer to this question.
With a signing key it is an HMAC-SHA256 and says, too, that whoever wrote it has that key.
"""

import hashlib
import hmac
from typing import Final

from pydantic import ValidationError

from fairlead_service.models.bundle import Bundle, Manifest

_MAGIC: Final = b"fairlead-bundle-1\n"
_SEAL: Final = 32
_CONTEXT: Final = b"fairlead bundle cache"


class CorruptError(Exception):
    """The blob is not what was written for this key; the message says how."""


def signer(signing_key: str | None) -> str:
    """Tells signing keys apart without saying what they are; "" for none."""
    return hmac.digest(signing_key.encode(), _CONTEXT, "sha256").hex()[:16] if signing_key else ""


def encode(key: str, bundle: Bundle, signing_key: str | None) -> bytes:
    manifest = bundle.manifest
    head = manifest.model_dump_json().encode()
    files = (bundle.path(name).read_bytes() for name in manifest.files)
    body = b"".join((len(head).to_bytes(8, "big"), head, *files))
    return _MAGIC + _seal(key, body, signing_key) + body


def decode(key: str, blob: bytes, signing_key: str | None) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the contents by file name. Raises CorruptError."""
    start = len(_MAGIC) + _SEAL
    seal, body = blob[len(_MAGIC) : start], memoryview(blob)[start:]  # a copy would be as large as the model
    if not blob.startswith(_MAGIC) or not hmac.compare_digest(seal, _seal(key, body, signing_key)):
        raise CorruptError("its seal is not that of its contents")
    length = int.from_bytes(body[:8], "big")
    try:
        manifest = Manifest.model_validate_json(bytes(body[8 : 8 + length]))
    except ValidationError as error:
        raise CorruptError(f"its manifest does not parse: {error}") from error
    contents, at = {}, 8 + length
    for name, expected in manifest.files.items():
        contents[name] = bytes(body[at : at + expected.size])
        at += expected.size
        if hashlib.sha256(contents[name]).hexdigest() != expected.sha256:
            raise CorruptError(f"its {name} is not what its manifest says")
    if at != len(body):
        raise CorruptError("it has more than its manifest says")
    return manifest, contents


def _seal(key: str, body: bytes | memoryview, signing_key: str | None) -> bytes:
    sealed = hmac.new(signing_key.encode(), digestmod="sha256") if signing_key else hashlib.sha256()
    sealed.update(key.encode())
    sealed.update(body)
    return sealed.digest()
