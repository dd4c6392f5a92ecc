"""How each server wants its rows, and how it gives its labels."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.serving.models import Rows


@dataclass(frozen=True)
class Protocol:
    path: str
    encode: Callable[[Rows], Any]
    decode: Callable[[Any], list[Any]]

    def body(self, rows: Rows) -> bytes:
        return json.dumps(self.encode(rows), separators=(",", ":")).encode()

    def labels(self, body: bytes) -> list[int]:
        """Raises ValueError, KeyError or TypeError if it is not an answer of this protocol."""
        return [int(label) for label in self.decode(json.loads(body))]


FEATURES: Final = Protocol("/predict", lambda rows: {"features": rows}, lambda answer: answer["predictions"])
"""Ours; the naive application and Ray Serve, which have none of their own, speak it too."""
BENTOML: Final = Protocol("/predict", lambda rows: {"features": rows}, lambda answer: answer)
KSERVE_V1: Final = Protocol(
    "/v1/models/model:predict", lambda rows: {"instances": rows}, lambda answer: answer["predictions"]
)
MLFLOW: Final = Protocol("/invocations", lambda rows: {"inputs": rows}, lambda answer: answer["predictions"])


def _tensor(rows: Rows) -> Any:
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}]}


OPEN_INFERENCE: Final = Protocol("/v2/models/model/infer", _tensor, lambda answer: answer["outputs"][0]["data"])
