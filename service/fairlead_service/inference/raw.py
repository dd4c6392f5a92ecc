"""Raw ASGI endpoints: what `/predict` and the other inference protocols share in reading requests and writing answers.

FastAPI's own routes cost about 60 µs a request, as much as everything else here together; validation and documentation
do not need them.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from fairlead_service import errors
from fairlead_service.errors import Problem
from fairlead_service.inference.body import Headers, read_body

ROUTE: Final = "fairlead.route"
"""The key of the scope where a raw endpoint leaves its route template, for metrics and logs."""
_GZIP_BYTES: Final = 4096
_GZIP_LOOP_BYTES: Final = 2**16
"""Longer answers are compressed in a thread: zlib takes 20 ms a MiB, and lets others run meanwhile."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read to its end."""

    headers: Headers
    body: bytes
    parameters: Mapping[str, str]
    """Path parameters."""
    gone: Callable[[], bool]
    """Whether the client has left."""


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


Handle = Callable[[Call], Awaitable[Reply]]


class RawEndpoint:
    """An ASGI application for one path and method: reads the body, calls `handle`, writes its reply or its Problem.

    `limit` bytes and `seconds` bound the body; `check` looks at the headers before the body is read and raises Problem.
    """

    def __init__(
        self, template: str, handle: Handle, *, limit: int, seconds: float, check: Callable[[Headers], None]
    ) -> None:
        self._template = template
        self._handle = handle
        self._limit = limit
        self._seconds = seconds
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self._template
        headers: Headers = dict(scope["headers"])
        try:
            self._check(headers)
            body = await read_body(headers, receive, limit=self._limit, seconds=self._seconds)
            reply = await self._handle(Call(headers, body, scope.get("path_params", {}), _gone(receive)))
        except Problem as problem:
            await _write_problem(send, problem, scope["state"]["request_id"])
            return
        content, more = reply.body, reply.headers
        if len(content) >= _GZIP_BYTES and b"gzip" in headers.get(b"accept-encoding", b""):
            content, more = await _compressed(content), (*more, (b"content-encoding", b"gzip"))
            more = (*more, (b"vary", b"Accept-Encoding"))
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", reply.content_type),
                (b"content-length", b"%d" % len(content)),
                *more,
            ],
        }
        await send(start)
        await send({"type": "http.response.body", "body": content})


async def _write_problem(send: Send, problem: Problem, request_id: str) -> None:
    body = problem.body(request_id)
    headers = [(b"content-type", errors.MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _compressed(content: bytes) -> bytes:
    if len(content) < _GZIP_LOOP_BYTES:
        return gzip.compress(content, 1, mtime=0)
    return await asyncio.to_thread(gzip.compress, content, 1, mtime=0)


def _gone(receive: Receive) -> Callable[[], bool]:
    """uvicorn knows when a client leaves, and ASGI tells it only to those who wait for it: a task a request."""
    cycle = getattr(receive, "__self__", None)
    return lambda: getattr(cycle, "disconnected", False)
