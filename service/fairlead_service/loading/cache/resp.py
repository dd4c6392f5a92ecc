"""Answers of a Redis, read within bounds: whoever answers at its address may send anything.

redis-py's own parser takes any length that it is told, lines without an end, and lists in lists as deep as Python
recurses. This one is written against the pinned version's internals; the tests hold it to real and hostile answers.
"""

from typing import Any, Final

from redis._parsers.resp2 import _RESP2Parser
from redis._parsers.socket import SocketBuffer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

LONGEST_LINE: Final = 2**16
LONGEST_VALUE: Final = 512 * 2**20
"""Redis' own limit."""
_MOST_PARTS: Final = 200_000
_DEEPEST: Final = 8
_LINE_BREAK: Final = b"\r\n"


class _Buffer(SocketBuffer):
    def readline(self) -> bytes:
        line: bytes = self._buffer.readline(LONGEST_LINE)
        while not line.endswith(_LINE_BREAK):
            if len(line) >= LONGEST_LINE:
                raise InvalidResponse(f"a line has more than {LONGEST_LINE} bytes")
            self._read_from_socket()
            line += self._buffer.readline(LONGEST_LINE - len(line))
        return line[: -len(_LINE_BREAK)]


class BoundedParser(_RESP2Parser):
    """For `Redis(parser_class=…)`. Raises InvalidResponse for answers out of bounds."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        sock: Any = self._sock
        self._buffer: Any = _Buffer(sock, self.socket_read_size, connection.socket_timeout)

    def _read_response(self, disable_decoding: bool = False, depth: int = 0) -> Any:
        if depth == 0:
            self._parts, self._bytes = _MOST_PARTS, LONGEST_VALUE + LONGEST_LINE
        self._parts -= 1
        if depth > _DEEPEST or self._parts < 0:
            raise InvalidResponse("an answer has too many parts")
        raw = self._buffer.readline()
        kind, text = raw[:1], raw[1:]
        if kind == b"-":
            error = self.parse_error(text.decode("utf-8", "replace"))  # type: ignore[no-untyped-call]
            if isinstance(error, RedisConnectionError):
                raise error
            return error
        if kind == b"+":
            return text
        if kind not in (b":", b"$", b"*"):
            raise InvalidResponse(f"an answer begins with {kind!r}")
        number = int(text)
        if kind == b":":
            return number
        if number == -1:
            return None
        if kind == b"$":
            return self._value(number)
        if not 0 <= number <= self._parts:
            raise InvalidResponse(f"a list has {number} parts")
        return [self._read_response(disable_decoding, depth + 1) for _ in range(number)]

    def _value(self, length: int) -> bytes:
        self._bytes -= length
        if length < 0 or self._bytes < 0:
            raise InvalidResponse(f"a value has {length} bytes")
        found: bytes = self._buffer.read(length)
        return found
