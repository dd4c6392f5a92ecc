"""`POST /predict`: a JSON body to a JSON answer, by way of the engine."""

import asyncio
from typing import Final

from fairlead_service import contract
from fairlead_service.inference import codec
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.engine import Engine
from fairlead_service.inference.quick import Decoder
from fairlead_service.inference.raw import LOOP_BYTES, Call, Reply, is_long
from fairlead_service.models.backends import Outputs
from fairlead_service.models.slot import Serving

_REPLAY: Final = contract.REPLAY_HEADER.lower().encode()


class Predict:
    """Handles the path's calls; one an application."""

    def __init__(self, engine: Engine, max_rows: int) -> None:
        self._engine = engine
        self._max_rows = max_rows
        self._decoder = Decoder()
        self._expected: tuple[Serving, Expected] | None = None

    async def __call__(self, call: Call) -> Reply:
        """Raises Problem."""
        serving = self._engine.serving()
        expected = self._of(serving)
        if len(call.body) < LOOP_BYTES:
            decoded = self._decoder.decode(call.body, serving.n_features, self._max_rows)
        else:  # in pieces, between which the event loop has its turns
            decoded = await asyncio.to_thread(Decoder().decode, call.body, serving.n_features, self._max_rows)
        if decoded is None:
            decoded = await call.decode(codec.decode_predict, LOOP_BYTES, expected)
        if decoded.extra:
            self._engine.ignored(serving, decoded.extra)
        replayed = _REPLAY in call.headers
        outputs = await self._engine.evaluate(serving, decoded.matrix, decoded.want, expected, call.gone, replayed)
        if is_long(outputs):
            return Reply(await asyncio.to_thread(_encode, outputs, serving))
        return Reply(_encode(outputs, serving))

    def _of(self, serving: Serving) -> Expected:
        """What a request must be for this model; made anew when another one serves."""
        if self._expected is None or self._expected[0] is not serving:
            manifest = serving.manifest
            expected = Expected(
                field="features",
                max_rows=self._max_rows,
                n_features=manifest.n_features,
                feature_names=manifest.feature_names,
                one_row=True,
                accepts_missing=manifest.accepts_missing,
            )
            self._expected = (serving, expected)
        return self._expected[1]


def _encode(outputs: Outputs, serving: Serving) -> bytes:
    return codec.encode_predict(outputs, serving.identity_json, serving.classes_json)
