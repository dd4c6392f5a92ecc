"""`GET /model/samples`: rows of users' requests, for whoever tries another model on them."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request

from fairlead_service import contract
from fairlead_service.api.authorization import authorized
from fairlead_service.api.services import Use, client_address
from fairlead_service.errors import InvalidInput, NoModel, Unauthorized, openapi_responses
from fairlead_service.observability import logs
from fairlead_service.schemas import Samples

router = APIRouter(tags=["model"])
Rows = Annotated[int, Query(ge=1, le=1000, description="At most so many, and no more than the server keeps")]


@router.get(
    contract.SAMPLES_PATH,
    summary="Rows that the model was asked about",
    dependencies=[Depends(authorized)],
    responses=openapi_responses(Unauthorized, InvalidInput, NoModel),
)
async def samples(request: Request, services: Use, rows: Rows = 100) -> Samples:
    """The newest rows of requests, the newest last, as `/predict` takes them; one row in four is kept.

    They are users' data: this path is there only if `FAIRLEAD_REPLAY_SAMPLES` is set. Requests with the header
    `Fairlead-Replay` are not kept.
    """
    serving = services.engine.serving()
    kept = min(rows, services.settings.replay_samples)
    newest = serving.recent.newest(kept) if serving.recent is not None else np.empty((0, serving.n_features))
    logs.audit("samples", "read", client_address(request), rows=len(newest), run_id=serving.run_id)
    features = [[None if value != value else value for value in row] for row in newest.tolist()]
    return Samples(features=features, columns=serving.manifest.feature_names)
