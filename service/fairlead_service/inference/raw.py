"""Raw ASGI endpoints: what `/predict` and the other inference protocols share in reading requests and writing answers.

FastAPI's own routes cost about 60 µs a request, as much as everything else here together; validation and documentation
do not need them.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec, TypeVar

from starlette.types import Receive, Scope, Send

from fairlead_service import errors
from fairlead_service.errors import Problem
from fairlead_service.hardening import HEADERS
from fairlead_service.inference.admission import Admission
from fairlead_service.inference.body import DisconnectError, Headers
from fairlead_service.inference.decoder_process import DecoderProcess
from fairlead_service.inference.exchange import Exchange
from fairlead_service.models.backends import Outputs
from fairlead_service.observability import logs
from fairlead_service.observability.requests import CLIENT_GONE, REQUEST_ID, Observer, Seen

LOOP_BYTES: Final = 2**18
"""How long a body of JSON or tensors may be that the event loop decodes itself."""
LOOP_VALUES: Final = 2**16
"""How many probabilities and scores an answer may have that the event loop writes itself."""
GZIP_BYTES: Final = 4096
GZIP_LOOP_BYTES: Final = 2**16
"""Longer answers are compressed in a thread: zlib takes 20 ms a MiB, and lets others run meanwhile."""
_CLOSE: Final = (b"connection", b"close")
_GZIPPED: Final = ((b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding"))
_PROBLEM: Final = errors.MEDIA_TYPE.encode()

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Call:
    """One request, read to its end."""

    headers: Headers
    body: bytes
    parameters: Mapping[str, str]
    """Path parameters."""
    gone: Callable[[], bool]
    """Whether the client has left."""
    decoder: DecoderProcess

    async def decode(
        self, decode: Callable[Concatenate[bytes, P], T], within: int, *arguments: P.args, **named: P.kwargs
    ) -> T:
        """`decode` of the body and the arguments. If the body is longer than `within` bytes, another process does it,
        so that the event loop has its turns meanwhile."""
        if len(self.body) < within:
            return decode(self.body, *arguments, **named)
        return await self.decoder.run(decode, self.body, *arguments, **named)


@dataclass(slots=True, eq=False)
class Reply:
    body: bytes
    content_type: bytes = b"application/json"
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handle = Callable[[Call], Awaitable[Reply]]
Refuse = Callable[[Problem, str], Reply]
"""A Problem and the request's id to the protocol's form of an error."""


def problem_reply(problem: Problem, request_id: str) -> Reply:
    """RFC 9457 problem details."""
    headers = tuple((name.lower().encode(), value.encode()) for name, value in problem.headers.items())
    return Reply(problem.body(request_id), _PROBLEM, problem.status, headers)


class RawEndpoint:
    """An ASGI application for one path and method: reads the body, calls `handle`, writes its reply or its Problem.

    `limit` bytes and `seconds` bound the body; `check` looks at the headers before the body is read and raises Problem,
    `admission` at how much there is to do.
    """

    def __init__(
        self,
        template: str,
        handle: Handle,
        observer: Observer,
        *,
        limit: int,
        seconds: float,
        check: Callable[[Headers], None],
        admission: Admission,
        decoder: DecoderProcess,
        refuse: Refuse = problem_reply,
    ) -> None:
        self._template = template
        self._handle = handle
        self._observer = observer
        self._limit = limit
        self._seconds = seconds
        self._check = check
        self._admission = admission
        self._decoder = decoder
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = self._observer.begin(scope)
        status = CLIENT_GONE
        try:
            exchange = Exchange(receive, send)
            try:
                reply = await self._reply(seen, exchange)
            except DisconnectError:
                return
            if len(reply.body) >= GZIP_BYTES and takes_gzip(seen.headers.get(b"accept-encoding", b"")):
                await _compress(reply)
            headers = [
                (b"content-type", reply.content_type),
                (REQUEST_ID, seen.request_id.encode()),
                *reply.headers,
                *HEADERS,
            ]
            if self._observer.last_on_connection(scope) and _CLOSE not in headers:
                headers.append(_CLOSE)
            await exchange.answer(reply.status, headers, reply.body)
            status = CLIENT_GONE if exchange.gone() else reply.status
        finally:
            self._observer.finish(seen, self._template, status)

    async def _reply(self, seen: Seen, exchange: Exchange) -> Reply:
        try:
            self._check(seen.headers)
            self._admission.check()
            body = await exchange.body(seen.headers, limit=self._limit, seconds=self._seconds)
            self._admission.take()
            try:
                parameters = seen.scope.get("path_params", {})
                return await self._handle(Call(seen.headers, body, parameters, exchange.gone, self._decoder))
            finally:
                self._admission.give_back()
        except Problem as problem:
            return self._refuse(problem, seen.request_id)
        except DisconnectError:
            raise
        except Exception as error:
            logs.error(f"{seen.scope['method']} {self._template} failed", error)
            return self._refuse(errors.InternalError(errors.UNEXPECTED), seen.request_id)


def is_long(outputs: Outputs) -> bool:
    """Whether a thread should write the answer, which then gives the interpreter back after each slice of it
    (`json_arrays`). Predictions alone are never that many."""
    parts = [part for part in (outputs.probabilities, outputs.scores) if part is not None]
    return bool(parts) and sum(part.size for part in parts) > LOOP_VALUES


def takes_gzip(accept: bytes) -> bool:
    """Whether an `Accept-Encoding` names gzip, by name and with a weight above 0 (RFC 9110, 12.5.3)."""
    for item in accept.lower().split(b","):
        coding, _, parameters = item.partition(b";")
        if coding.strip() in (b"gzip", b"x-gzip"):
            name, _, weight = parameters.strip().partition(b"=")
            return name.strip() != b"q" or weight.strip(b" \t0.") != b""
    return False


async def _compress(reply: Reply) -> None:
    if len(reply.body) < GZIP_LOOP_BYTES:
        reply.body = gzip.compress(reply.body, 1, mtime=0)
    else:
        reply.body = await asyncio.to_thread(gzip.compress, reply.body, 1, mtime=0)
    reply.headers += _GZIPPED
