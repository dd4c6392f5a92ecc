"""`GET /model/samples`: rows of users' requests, for whoever tries another model on them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from fairlead_service import contract
from fairlead_service.api.authorization import authorized
from fairlead_service.api.services import Use, client_address
from fairlead_service.errors import InvalidInput, NoModel, Unauthorized, openapi_responses
from fairlead_service.inference import json_arrays
from fairlead_service.observability import logs
from fairlead_service.observability.recent import Recent
from fairlead_service.schemas import Samples

router = APIRouter(tags=["model"])
_BLOCK_VALUES: Final = 2**17
"""That are copied and written in one turn of the event loop: a millisecond."""
Rows = Annotated[int, Query(ge=1, le=1000, description="At most so many, and no more than the server keeps")]


@router.get(
    contract.SAMPLES_PATH,
    summary="Rows that the model was asked about",
    dependencies=[Depends(authorized)],
    response_model=Samples,
    responses=openapi_responses(Unauthorized, InvalidInput, NoModel),
)
async def samples(request: Request, services: Use, rows: Rows = 100) -> Response:
    """The newest rows of requests, the newest last, as `/predict` takes them; one row in four is kept.

    They are users' data: this path is there only if `FAIRLEAD_REPLAY_SAMPLES` is set. Requests with the header
    `Fairlead-Replay` are not kept.
    """
    serving = services.engine.serving()
    kept = min(rows, services.settings.replay_samples)
    recent = serving.recent
    count = 0 if recent is None else min(kept, len(recent))
    logs.audit("samples", "read", client_address(request), rows=count, run_id=serving.run_id)
    parts = _parts(recent, count, serving.n_features, serving.manifest.feature_names)
    return StreamingResponse(parts, media_type="application/json")


async def _parts(
    recent: Recent | None, count: int, width: int, columns: tuple[str, ...] | None
) -> AsyncIterator[bytes]:
    """`schemas.Samples`, some rows at a time: of a wide model these are millions of numbers. A missing one is null."""
    yield b'{"features":['
    separator = b""
    for block in recent.blocks(count, max(1, _BLOCK_VALUES // max(width, 1))) if recent is not None else ():
        written = await asyncio.to_thread(json_arrays.dumps, block)
        yield separator + written[1:-1]
        separator = b","
    yield b'],"columns":%b}' % orjson.dumps(columns)
