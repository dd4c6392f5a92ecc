"""Reads a JSON body of bounded size from an ASGI server, refusing it as early as that is known."""

import asyncio

from starlette.types import Receive, Scope

from fairlead_service.errors import BodyTimeout, BodyTooLarge, MalformedBody, UnsupportedMediaType


class DisconnectError(Exception):
    """The client closed its connection before its request was whole; there is nobody to answer."""


async def read_json_body(scope: Scope, receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The body of a request whose headers say JSON, of at most `limit` bytes, arrived within `seconds`.

    Nothing over the limit is ever held: what comes after a refusal is dropped by the server as it arrives. Closing
    the connection instead would reset it, and the client might never see the answer.
    """
    _check_headers(scope, limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise BodyTimeout(
            f"{size} bytes arrived in {seconds:g} s; send the whole body within that time",
            headers={"Connection": "close"},
        ) from None


def _check_headers(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value.split(b";")[0].strip().lower()
            if media_type != b"application/json" and not media_type.endswith(b"+json"):
                shown = media_type.decode("latin-1")[:100]
                raise UnsupportedMediaType(
                    f"Content-Type is {shown!r}; send JSON with 'Content-Type: application/json'"
                )
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            shown = value.decode("latin-1")[:100]
            raise UnsupportedMediaType(f"Content-Encoding is {shown!r}; send the body as it is, not compressed")
        elif name == b"content-length":
            if not value.isdigit():
                raise MalformedBody("Content-Length is not a number")
            if int(value) > limit:
                raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is longer than {limit} bytes, the most this path takes; send fewer rows a request")
