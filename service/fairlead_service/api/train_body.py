"""The JSON body of a training, received so that the event loop is never held: a short one in memory, a long one in a
file that a process of its own parses."""

import asyncio
import json
from pathlib import Path
from typing import Final

from starlette.types import Receive

from fairlead_service import errors
from fairlead_service.api.services import Services
from fairlead_service.api.train_files import BODY
from fairlead_service.errors import FieldError
from fairlead_service.inference.body import DisconnectError, Headers, check_length, too_large, too_slow
from fairlead_service.schemas_train import TrainOptions

SHORT_BYTES: Final = 2**18
"""Parsing so much takes a few milliseconds, also in a thread, which keeps the interpreter from the event loop."""
_PIECE_BYTES: Final = 2**20
_PROBLEMS: Final = {
    kind.slug: kind
    for kind in (
        errors.MalformedBody,
        errors.InvalidInput,
        errors.TooManyRows,
        errors.UnknownAlgorithm,
    )
}
"""What is wrong with a body, by the slug that a child names."""


async def receive(headers: Headers, source: Receive, directory: Path, *, limit: int, seconds: float) -> bytes | Path:
    """The body, or where it is if it is long. Raises Problem, DisconnectError."""
    check_length(headers, limit)
    path, piece, arrived = directory / BODY, bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await source()
                if message["type"] == "http.disconnect":
                    raise DisconnectError
                piece += message.get("body", b"")
                arrived += len(message.get("body", b""))
                if arrived > limit:
                    raise too_large(limit)
                more = message.get("more_body", False)
                if len(piece) >= _PIECE_BYTES or (not more and arrived > SHORT_BYTES):
                    await asyncio.to_thread(_append, path, bytes(piece))
                    piece.clear()
    except TimeoutError:
        raise too_slow(arrived, seconds) from None
    return path if arrived > SHORT_BYTES else bytes(piece)


async def decode_in_child(services: Services, directory: Path, limits: dict[str, int]) -> TrainOptions:
    """The options of the request whose body is in the directory; what a training needs is there then, in its place.

    Raises Problem.
    """
    settings = services.settings
    found = await services.children.run(
        [*services.commands.decode, "--request", directory, "--limits", json.dumps(limits)],
        services.limits(settings.upload_timeout_seconds, settings.child_nice),
    )
    if problem := found.get("problem"):
        kind = _PROBLEMS.get(problem["slug"], errors.InvalidInput)
        raise kind(problem["detail"], [FieldError.model_validate(error) for error in problem["errors"]])
    return TrainOptions.model_validate(found["options"])


def _append(path: Path, piece: bytes) -> None:
    with path.open("ab") as file:
        file.write(piece)
