"""API keys. Their file holds digests, so whoever reads it (children that run other people's code among them) learns no
key. `python -m fairlead_service.access new --name ci --roles predict` makes one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fairlead_service import patterns
from fairlead_service.access.roles import Identity, Role
from fairlead_service.following import StaleError, Stamp, stamp


class Key(BaseModel):
    """An entry of the file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=patterns.KEY_NAME)
    sha256: str = Field(pattern=patterns.SHA256)
    roles: frozenset[Role] = Field(min_length=1)


_KEYS: Final = TypeAdapter(list[Key])


def parse(content: bytes) -> dict[bytes, Identity]:
    """Whose keys are good, by the keys' digests, from a JSON list of `{name, sha256, roles}`. Raises StaleError, which
    has nothing of the file's content."""
    try:
        keys = _KEYS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise StaleError(f"at {'/'.join(map(str, first['loc'])) or 'the top'}: {patterns.message(first)}") from None
    found = {bytes.fromhex(key.sha256): Identity(key.name, key.roles) for key in keys}
    if len(found) != len(keys) or len({key.name for key in keys}) != len(keys):
        raise StaleError("two entries have the same name or digest")
    return found


class KeyFile:
    """The keys that are good now."""

    name = "API keys"

    def __init__(self, path: Path) -> None:
        """Raises StaleError."""
        self._path = path
        self._stamp: Stamp | None = (0, 0, 0)  # of no file
        self._keys: Mapping[bytes, Identity] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Reads the file if it changed since it was read last; returns whether it did. Raises StaleError, once for each
        change, and then the keys of before stay good. Blocks on the disk."""
        found = stamp(self._path)
        if found == self._stamp:
            return False
        self._stamp = found
        try:
            self._keys = parse(self._path.read_bytes())
        except OSError as error:
            raise StaleError(f"{self._path} can't be read: {error.strerror}") from None
        except StaleError as error:
            raise StaleError(f"{self._path}: {error}") from None
        return True

    def find(self, token: bytes) -> Identity | None:
        # Looked up by the digest of a random key: how long that takes tells nothing of a key that is good.
        return self._keys.get(hashlib.sha256(token).digest())
