"""Entries in a Redis that loaders share.

A blob is one value; a sorted set says when each was last used. Both change in one MULTI. The right to fetch is the
client library's own lock (`SET NX PX`), renewed while its holder lives, so it ends some seconds after a holder that
died. Names have one hash tag: on a cluster they are on one node.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.lock import Lock
from redis.retry import Retry

from fairlead_service.loading.cache.backend import AwayError, CacheError, Held, victims
from fairlead_service.loading.cache.resp import BoundedParser

_PREFIX: Final = "{fairlead-bundles}"
_USED: Final = f"{_PREFIX}:used"
_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_RETRIES: Final = 2
LEASE_SECONDS: Final = 10.0
"""Of the lock; renewed three times in that."""


class RedisBackend:
    """`url` is redis:// or rediss://; a user's name and the database may be in it. `ca` is PEM text."""

    def __init__(self, url: str, max_bytes: int, password: str | None = None, ca: str | None = None) -> None:
        parts = urlsplit(url)
        self.place = f"Redis at {parts.hostname}:{parts.port or 6379}"
        self._max_bytes = max_bytes
        tls: dict[str, Any] = {"ssl_ca_data": ca} if ca and parts.scheme == "rediss" else {}
        secret = {"password": password} if password else {}
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            parser_class=BoundedParser,
            retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=1.0), _RETRIES),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            **secret,
            **tls,
        )

    def get(self, key: str) -> bytes | None:
        with self._errors():
            both = self._redis.pipeline()
            both.get(_name(key))
            both.zadd(_USED, {key: time.time()}, xx=True)
            blob = both.execute()[0]
        return blob if isinstance(blob, bytes) else None

    def put(self, key: str, entry: bytes) -> None:
        if len(entry) > self._max_bytes:
            raise CacheError(f"the bundle has {len(entry)} bytes, the whole cache may have {self._max_bytes}")
        with self._errors():
            self._make_room(key, self._max_bytes - len(entry))
            both = self._redis.pipeline()
            both.set(_name(key), entry)
            both.zadd(_USED, {key: time.time()})
            both.execute()

    def remove(self, key: str) -> None:
        with self._errors():
            self._forget([key])

    def lock(self, key: str) -> AbstractContextManager[None] | None:
        # One thread takes it and another one renews it, so its token must not belong to a thread.
        lock = self._redis.lock(f"{_PREFIX}:lock:{key}", timeout=LEASE_SECONDS, blocking=False, thread_local=False)
        with self._errors():
            return _renewed(lock) if lock.acquire() else None

    def _make_room(self, key: str, room: int) -> None:
        """Also forgets what Redis itself has evicted: its length is 0."""
        scored: Any = self._redis.zrange(_USED, 0, -1, withscores=True)
        used = [(name.decode(), at) for name, at in scored]
        others = [(name, at) for name, at in used if name != key]
        lengths = self._redis.pipeline(transaction=False)
        for name, _ in others:
            lengths.strlen(_name(name))
        held = [Held(name, size, at) for (name, at), size in zip(others, lengths.execute(), strict=True)]
        gone = {entry.key for entry in held if not entry.size} | set(victims(held, room))
        if gone:
            self._forget(sorted(gone))

    def _forget(self, keys: Sequence[str]) -> None:
        both = self._redis.pipeline()
        both.delete(*map(_name, keys))
        both.zrem(_USED, *keys)
        both.execute()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise AwayError(f"{self.place}: {type(error).__name__}: {error}") from error
        except Exception as error:  # answers that are not those of a Redis end in any exception
            raise CacheError(f"{self.place}: {type(error).__name__}: {str(error)[:200]}") from error


@contextlib.contextmanager
def _renewed(lock: Lock) -> Iterator[None]:
    """Holds an acquired lock and renews its lease in a thread. If that fails, others fetch as well."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            try:
                lock.reacquire()
            except Exception:
                return

    renewal = threading.Thread(target=renew, daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join(2 * _ANSWER_SECONDS)
        with contextlib.suppress(Exception):
            lock.release()


def _name(key: str) -> str:
    return f"{_PREFIX}:bundle:{key}"
