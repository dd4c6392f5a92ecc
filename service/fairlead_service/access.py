"""Who may do what: API keys, the roles they carry, and the role that each route needs.

Off unless a file of keys is configured. The file holds digests, so whoever reads it (children that run other people's
code among them) learns no key. `python -m fairlead_service.access new --name ci --roles predict` makes a key.
"""

import argparse
import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fairlead_service import contract
from fairlead_service.errors import Forbidden, Unauthorized
from fairlead_service.inference.body import Headers
from fairlead_service.observability import logs

LOAD_TOKEN: Final = "load-token"
"""The subject of whoever sends the load token."""


class Role(StrEnum):
    PREDICT = "predict"
    TRAIN = "train"
    ADMIN = "admin"
    """Contains the others."""


class Open(StrEnum):
    """Needs of routes that need no role of their own."""

    ANYBODY = "anybody"
    ANY_ROLE = "any role"


Need = Role | Open

_LOAD_TOKEN_TEMPLATES: Final = frozenset({contract.LOAD_PATH, contract.SAMPLES_PATH})
_OPEN: Final = frozenset(
    {
        # Probes and scrapers, which have no credentials: no row of a user is in their answers.
        "/health", contract.LIVE_PATH, contract.READY_PATH, "/metrics", "/ping", "/version",
        "/v2", "/v2/health/live", "/v2/health/ready",
        # Pages and the form of the API, which are public with the source.
        "/", "/docs", "/openapi.json",
    }
)  # fmt: skip
_READ: Final = ("/model/info", "/metrics/summary", "/train/jobs", "/algorithms", "/models", "/runs", "/v2/models")


def needed(method: str, template: str) -> Need:
    """What a route asks of its clients. A route that is not named here needs `admin`."""
    if method in ("GET", "HEAD"):
        if template in _OPEN:
            return Open.ANYBODY
        if any(template == path or template.startswith(path + "/") for path in _READ):
            return Open.ANY_ROLE
    elif method == "POST":
        if template in ("/predict", "/invocations") or (template.startswith("/v2/") and template.endswith("/infer")):
            return Role.PREDICT
        if template == "/v2/repository/index":
            return Open.ANY_ROLE
        if template == "/train":
            return Role.TRAIN
    elif method == "DELETE" and template.startswith("/train/jobs/"):
        return Role.TRAIN
    return Role.ADMIN


class Key(BaseModel):
    """An entry of the file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    roles: frozenset[Role] = Field(min_length=1)


_KEYS: Final = TypeAdapter(list[Key])


class KeysError(Exception):
    """The file of keys can't be used; the message says why, without the file's content."""


def parse(content: bytes) -> dict[bytes, Key]:
    """Keys by digest, from a JSON list of `{name, sha256, roles}`. Raises KeysError."""
    try:
        keys = _KEYS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise KeysError(f"at {'/'.join(map(str, first['loc'])) or 'the top'}: {first['msg']}") from None
    found = {bytes.fromhex(key.sha256): key for key in keys}
    if len(found) != len(keys) or len({key.name for key in keys}) != len(keys):
        raise KeysError("two entries have the same name or digest")
    return found


class Access:
    """The keys that are good now. `path` None: nobody is asked for one."""

    def __init__(self, path: Path | None, load_tokens: frozenset[bytes] = frozenset()) -> None:
        """`load_tokens` are digests. Raises KeysError."""
        self._path = path
        self._load_tokens = load_tokens
        self._version: tuple[int, int, int] | None = None
        self._keys: Mapping[bytes, Key] = {}
        if path is not None:
            self.refresh()

    @property
    def on(self) -> bool:
        return self._path is not None

    def refresh(self) -> bool:
        """Reads the file if it changed since it was read last; returns whether it did. Raises KeysError, once for each
        change, and then the keys of before stay good. Blocks on the disk."""
        assert self._path is not None
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version == self._version:
                return False
            self._version = version
            self._keys = parse(self._path.read_bytes())
        except OSError as error:
            if self._version == (0, 0, 0):
                return False
            self._version = (0, 0, 0)
            raise KeysError(f"{self._path} can't be read: {error.strerror}") from None
        except KeysError as error:
            raise KeysError(f"{self._path}: {error}") from None
        return True

    def admit(self, authorization: bytes | None, method: str, template: str) -> None:
        """Sets the subject of audit lines. Raises Unauthorized, Forbidden."""
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
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise Unauthorized("send an API key: `Authorization: Bearer KEY`", headers={"WWW-Authenticate": "Bearer"})
        # Looked up by the digest of a random key: how long that takes tells nothing of a key that is good.
        digest = hashlib.sha256(token.strip()).digest()
        if template in _LOAD_TOKEN_TEMPLATES and digest in self._load_tokens:
            return LOAD_TOKEN
        key = self._keys.get(digest)
        if key is None:
            detail = "the API key is unknown or no longer good; ask whoever runs this server for another"
            raise Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if not (need is Open.ANY_ROLE or need in key.roles or Role.ADMIN in key.roles):
            detail = f"the key {key.name!r} lacks the role {need.value!r}, which this path needs; send one that has it"
            raise Forbidden(detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
        return key.name


def main(arguments: list[str]) -> int:
    """Prints a new key, which is told nowhere else, and the entry to put into the file."""
    parser = argparse.ArgumentParser(prog="python -m fairlead_service.access")
    new = parser.add_subparsers(required=True).add_parser("new", help="make an API key")
    new.add_argument("--name", required=True, help="whose it is, as audit lines say it")
    new.add_argument("--roles", required=True, nargs="+", choices=[role.value for role in Role])
    given = parser.parse_args(arguments)
    key = f"fl_{secrets.token_urlsafe(32)}"
    try:
        digest = hashlib.sha256(key.encode()).hexdigest()
        entry = Key(name=given.name, sha256=digest, roles=frozenset(map(Role, given.roles)))
    except ValidationError:
        parser.error("--name takes 1 to 63 letters, digits, dots, dashes and underscores")
    sys.stdout.write(f"key (keep it, it is not shown again): {key}\nentry for the file: {entry.model_dump_json()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
