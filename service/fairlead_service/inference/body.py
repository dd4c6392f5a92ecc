"""Reads a body of bounded size from an ASGI server, refusing it as early as that is known."""

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from fairlead_service.errors import BodyTimeout, BodyTooLarge, MalformedBody, UnsupportedMediaType

Headers = Mapping[bytes, bytes]
"""Names in lower case; of a header sent twice, the last."""


class DisconnectError(Exception):
    """The client closed its connection before it had its answer; there is nobody to answer."""


async def read_body(headers: Headers, receive: Receive, *, limit: int, seconds: float) -> bytes:
    """A body of at most `limit` bytes, arrived within `seconds`. Raises Problem, DisconnectError.

    Nothing over the limit is ever held: what comes after a refusal is dropped by the server as it arrives. Closing
    the connection instead would reset it, and the client might never see the answer.
    """
    check_length(headers, limit)
    body = bytearray()  # not a list of chunks: of single bytes it would take forty times their size
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectError
                chunk: bytes = message.get("body", b"")
                if len(body) + len(chunk) > limit:
                    raise too_large(limit)
                if not body and not message.get("more_body", False):
                    return chunk
                body += chunk
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise too_slow(len(body), seconds) from None


def check_length(headers: Headers, limit: int) -> None:
    """Raises Problem for a body that says it is too long, or nonsense."""
    length = headers.get(b"content-length")
    if length is not None:
        if not length.isdigit():
            raise MalformedBody("Content-Length is not a number")
        if int(length) > limit:
            raise too_large(limit)


def check_json(headers: Headers) -> None:
    """Raises UnsupportedMediaType unless the body is JSON as it is; a body that does not say what it is passes."""
    value = headers.get(b"content-type", b"application/json")
    if value != b"application/json":
        media_type = value.split(b";")[0].strip().lower()
        if media_type != b"application/json" and not media_type.endswith(b"+json"):
            shown = media_type.decode("latin-1")[:100]
            raise UnsupportedMediaType(f"Content-Type is {shown!r}; send JSON with 'Content-Type: application/json'")
    check_identity(headers)


def check_identity(headers: Headers) -> None:
    """Raises UnsupportedMediaType for a compressed body: a few bytes could unpack to any size."""
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        shown = encoding.decode("latin-1")[:100]
        raise UnsupportedMediaType(f"Content-Encoding is {shown!r}; send the body as it is, not compressed")


def too_slow(arrived: int, seconds: float) -> BodyTimeout:
    detail = f"{arrived} bytes arrived in {seconds:g} s; send the whole body within that time"
    return BodyTimeout(detail, headers={"Connection": "close"})


def too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is longer than {limit} bytes, the most this path takes; send fewer rows a request")
