"""A `multipart/form-data` body: one part `request` (JSON) and one part `file` (CSV or Parquet), the file to disk."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.datastructures import Headers as RequestHeaders
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Receive

from fairlead_service.errors import FieldError, InvalidInput, MalformedBody
from fairlead_service.inference.body import DisconnectError, Headers, check_length, too_large, too_slow

MEDIA_TYPE: Final = b"multipart/form-data"
_REQUEST_BYTES: Final = 2**20
_PARQUET: Final = b"PAR1"
_PARTS: Final = "send two parts: request (JSON) and file (CSV or Parquet), as curl -F request=… -F file=@data.csv does"


@dataclass(frozen=True, slots=True)
class Upload:
    request: bytes
    name: str
    """What the client calls the file."""
    file: str
    """`data.csv` or `data.parquet`, in the directory that was given."""


async def read(headers: Headers, receive: Receive, directory: Path, *, limit: int, seconds: float) -> Upload:
    """Writes the file into `directory`. Raises Problem for what is no such body, DisconnectError."""
    check_length(headers, limit)
    arrived = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal arrived
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise DisconnectError
            chunk: bytes = message.get("body", b"")
            arrived += len(chunk)
            if arrived > limit:
                raise too_large(limit)
            yield chunk
            more = message.get("more_body", False)

    raw = RequestHeaders(raw=list(headers.items()))
    parser = MultiPartParser(raw, body(), max_files=2, max_fields=2, max_part_size=_REQUEST_BYTES)
    try:
        async with asyncio.timeout(seconds):
            form = await parser.parse()
    except TimeoutError:
        raise too_slow(arrived, seconds) from None
    except MultiPartException as error:
        raise MalformedBody(
            f"the body is not the multipart/form-data it should be: {error.message}; {_PARTS}"
        ) from None
    try:
        return await asyncio.to_thread(_take, form, directory)
    finally:
        await form.close()


def _take(form: FormData, directory: Path) -> Upload:
    parts = dict(form.multi_items())
    unknown = sorted(parts.keys() - {"request", "file"})
    if unknown:
        raise InvalidInput(f"unknown part {unknown[0][:100]!r}; {_PARTS}")
    request, file = parts.get("request"), parts.get("file")
    if not isinstance(request, str):
        raise _invalid("request", "is a file" if request is not None else "is missing")
    if not isinstance(file, UploadFile):
        raise _invalid("file", "is no file" if file is not None else "is missing")
    file.file.seek(0)
    kind = "data.parquet" if file.file.read(len(_PARQUET)) == _PARQUET else "data.csv"
    file.file.seek(0)
    with (directory / kind).open("wb") as target:
        shutil.copyfileobj(file.file, target, 2**20)
    return Upload(request.encode(), (file.filename or kind)[:200], kind)


def _invalid(part: str, what: str) -> InvalidInput:
    return InvalidInput(f"part {part} {what}; {_PARTS}", [FieldError(pointer=f"/{part}", detail=what)])
