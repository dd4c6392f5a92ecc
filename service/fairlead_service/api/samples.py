"""`GET /model/samples`: rows of users' requests, for whoever tries another model on them."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from fairlead_service import contract
from fairlead_service.api.authorization import authorized
from fairlead_service.api.services import Use, client_address
from fairlead_service.errors import InvalidInput, NoModel, Unauthorized, openapi_responses
from fairlead_service.inference import json_arrays
from fairlead_service.models.backends import Matrix
from fairlead_service.observability import logs
from fairlead_service.schemas import Samples

router = APIRouter(tags=["model"])
_BLOCK_VALUES: Final = 2**17
"""That are copied in one turn of the event loop: a millisecond."""
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
    blocks: list[Matrix] = [np.empty((0, serving.n_features))]
    if serving.recent is not None:
        for block in serving.recent.blocks(kept, max(1, _BLOCK_VALUES // max(serving.n_features, 1))):
            blocks.append(block)
            await asyncio.sleep(0)
    logs.audit("samples", "read", client_address(request), rows=sum(map(len, blocks)), run_id=serving.run_id)
    content = await asyncio.to_thread(_answer, blocks, serving.manifest.feature_names)
    return Response(content, media_type="application/json")


def _answer(blocks: Sequence[Matrix], columns: tuple[str, ...] | None) -> bytes:
    """`schemas.Samples`; a missing value is null. Of a wide model these are millions of numbers."""
    return orjson.dumps({"features": json_arrays.fragment(np.concatenate(blocks)), "columns": columns})
