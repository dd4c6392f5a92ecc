"""Where the cache is, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from fairlead_service import contract
from fairlead_service.loading.cache.backend import Backend, CacheError
from fairlead_service.loading.cache.bounded import BoundedBackend

DEFAULT_MAX_BYTES: Final = 4 * 2**30
DEFAULT_WAIT_SECONDS: Final = 60.0
DEFAULT_TIMEOUT_SECONDS: Final = 60.0
ENV_TIMEOUT_SECONDS: Final = "FAIRLEAD_CACHE_TIMEOUT_SECONDS"
ENV_WAIT_SECONDS: Final = "FAIRLEAD_CACHE_WAIT_SECONDS"
_FILE: Final = "_FILE"


@dataclass(frozen=True)
class CacheSettings:
    url: str = field(repr=False)
    """`file:///directory`, `redis://[user@]host[:port][/db]` or `rediss://…` for TLS."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Of all entries together."""
    wait_seconds: float = DEFAULT_WAIT_SECONDS
    """How long to wait for somebody else's download before making one's own."""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """How long one reading or writing of an entry may take; 512 MiB, Redis' largest, take 9 MiB/s in that time."""
    password: str | None = field(default=None, repr=False)
    signing_key: str | None = field(default=None, repr=False)
    ca: str | None = None
    """Certificates, as PEM text, for a Redis with a certificate of one's own."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "CacheSettings | None":
        """None without a URL. Raises CacheError for what makes no sense."""
        url = environment.get(contract.ENV_CACHE_URL, "")
        if not url:
            return None
        signing_key = _secret(environment, contract.ENV_CACHE_SIGNING_KEY)
        if environment.get(contract.ENV_CACHE_SIGNED, "").lower() in ("1", "true") and not signing_key:
            raise CacheError(
                f"{contract.ENV_CACHE_SIGNED} is true, but there is no signing key; "
                f"set {contract.ENV_CACHE_SIGNING_KEY} or {contract.ENV_CACHE_SIGNING_KEY}{_FILE}"
            )
        return cls(
            url=url,
            max_bytes=int(_number(environment, contract.ENV_CACHE_MAX_BYTES, DEFAULT_MAX_BYTES)),
            wait_seconds=_number(environment, ENV_WAIT_SECONDS, DEFAULT_WAIT_SECONDS),
            timeout_seconds=_number(environment, ENV_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS),
            password=_secret(environment, contract.ENV_CACHE_PASSWORD),
            signing_key=signing_key,
            ca=_secret(environment, contract.ENV_CACHE_CA),
        )

    def backend(self) -> Backend:
        """Connects to nothing yet. Raises CacheError for a URL of another form."""
        return BoundedBackend(self._backend(), self.timeout_seconds)

    def _backend(self) -> Backend:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            raise CacheError(f"{contract.ENV_CACHE_URL} is no address") from None
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            from fairlead_service.loading.cache.directory import DirectoryBackend

            return DirectoryBackend(Path(unquote(parts.path)), self.max_bytes)
        if parts.scheme in ("redis", "rediss") and parts.hostname:
            from fairlead_service.loading.cache.shared import RedisBackend

            try:
                return RedisBackend(self.url, self.max_bytes, self.password, self.ca)
            except ValueError:  # whose words may hold a part of a password
                raise CacheError(
                    f"{contract.ENV_CACHE_URL} is no address of a Redis (redis://HOST:PORT/DB); a password belongs "
                    f"into {contract.ENV_CACHE_PASSWORD}"
                ) from None
        raise CacheError(
            f"{contract.ENV_CACHE_URL} must be file:///DIRECTORY, redis://HOST:PORT/DB or rediss://HOST:PORT/DB"
        )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    try:
        found = float(environment.get(name) or default)
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise CacheError(f"{name} must be a number that is not negative, not {environment[name]!r}")
    return found


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    """The variable, or what is in the file that the variable with `_FILE` names, without the last line break."""
    if value := environment.get(name):
        return value
    if not (path := environment.get(name + _FILE)):
        return None
    try:
        return Path(path).read_text().rstrip("\n") or None
    except (OSError, ValueError) as error:
        raise CacheError(f"{name}{_FILE} cannot be read: {error}") from error
