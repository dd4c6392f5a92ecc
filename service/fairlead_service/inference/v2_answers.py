"""Open Inference Protocol V2: what is served, and outputs → the bytes of an answer. Pure."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import DTypeLike, NDArray

from fairlead_service.errors import Problem
from fairlead_service.inference import json_arrays
from fairlead_service.inference.tensors import DATATYPES
from fairlead_service.inference.v2 import PREDICT, PROBABILITIES, SCORES, InferRequest
from fairlead_service.models.backends import Outputs
from fairlead_service.models.bundle import Label, Manifest

EXTENSIONS: Final = ("binary_tensor_data", "model_repository")
PLATFORM: Final = "sklearn"
ANY_MODEL: Final = "model"
"""The name under which any model is served, for clients that do not know which one it is."""
_INPUT: Final = "input-0"
_BYTES: Final = "BYTES"
_INTEGERS: Final = ("INT64", "UINT64")
_EXACT: Final = 2**53
"""Up to here a double holds every integer."""


class OtherModel(Problem):
    status, slug, title = 404, "other-model", "The server does not serve this model"


def check_model(manifest: Manifest, name: str, version: str | None) -> None:
    """Raises OtherModel unless that is what the manifest's model is called.

    It goes by its registered name, its run id and `model`; its version is the registered one or, again, the run id.
    """
    served, run_id = served_name(manifest), manifest.identity.run_id
    if name not in (served, run_id, ANY_MODEL):
        raise OtherModel(f"there is no model {name[:100]!r} here; this server has {served!r}, run {run_id}")
    if version is not None and version not in (served_version(manifest), run_id):
        detail = f"there is no version {version[:100]!r} of {served!r} here"
        raise OtherModel(f"{detail}; this server has version {served_version(manifest)!r}, run {run_id}")


def served_name(manifest: Manifest) -> str:
    return manifest.identity.name or manifest.identity.run_id


def served_version(manifest: Manifest) -> str:
    return manifest.identity.version or manifest.identity.run_id


def metadata(manifest: Manifest) -> dict[str, Any]:
    """The model's metadata response. -1 stands for any number of rows."""
    width, classes = manifest.n_features, manifest.classes
    inputs: dict[str, Any] = {"name": _INPUT, "datatype": "FP64", "shape": [-1, width]}
    if manifest.feature_names is not None:
        inputs["parameters"] = {"columns": list(manifest.feature_names)}
    outputs = [{"name": PREDICT, "datatype": _datatype(manifest), "shape": [-1]}]
    if manifest.has_probabilities and classes is not None:
        outputs.append({"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, len(classes)]})
    if manifest.has_scores:
        # One column a class, or one a pair of classes.
        shape = [-1] if classes is not None and len(classes) <= 2 else [-1, -1]
        outputs.append({"name": SCORES, "datatype": "FP64", "shape": shape})
    return {
        "name": served_name(manifest),
        "versions": [served_version(manifest)],
        "platform": PLATFORM,
        "inputs": [inputs],
        "outputs": outputs,
    }


def encode(outputs: Outputs, request: InferRequest, manifest: Manifest) -> tuple[bytes, int | None]:
    """The answer, and the length of its JSON if binary data follow it."""
    tensors: list[dict[str, Any]] = []
    binaries: list[bytes] = []
    parts = {PREDICT: outputs.predictions, PROBABILITIES: outputs.probabilities, SCORES: outputs.scores}
    for output in request.outputs:
        part = parts[output.name]
        assert part is not None, "the backend answers what was wanted"
        datatype = _datatype(manifest) if output.name == PREDICT else "FP64"
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": part.shape}
        if output.binary:
            binaries.append(_binary(part, datatype))
            tensor["parameters"] = {"binary_data_size": len(binaries[-1])}
        else:
            tensor["data"] = _flat(part, datatype)
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": served_name(manifest), "model_version": served_version(manifest)}
    if request.id is not None:
        document["id"] = request.id
    document |= {"parameters": {"run_id": manifest.identity.run_id}, "outputs": tensors}
    head = orjson.dumps(document)
    return (b"".join((head, *binaries)), len(head)) if binaries else (head, None)


def _datatype(manifest: Manifest) -> str:
    """Of predictions: one that holds every label as it is; text for what no type of numbers holds."""
    classes = manifest.classes or (0.0,)
    kinds = set(map(type, classes))
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return next((name for name in _INTEGERS if _holds(name, classes)), _BYTES)
    if kinds <= {int, float} and all(type(label) is float or abs(int(label)) <= _EXACT for label in classes):
        return "FP64"
    return _BYTES


def _holds(datatype: str, labels: Sequence[Label]) -> bool:
    bounds = np.iinfo(DATATYPES[datatype])
    return all(bounds.min <= int(label) <= bounds.max for label in labels)


def _flat(part: NDArray[Any], datatype: str) -> object:
    """Row by row, as orjson takes it."""
    if datatype == _BYTES:
        return list(map(str, part.ravel().tolist()))
    return json_arrays.fragment(np.ascontiguousarray(part, _dtype(datatype)).ravel())


def _binary(part: NDArray[Any], datatype: str) -> bytes:
    if datatype != _BYTES:
        return np.ascontiguousarray(part, _dtype(datatype)).tobytes()
    encoded = [str(value).encode() for value in part.ravel().tolist()]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def _dtype(datatype: str) -> DTypeLike:
    return np.bool_ if datatype == "BOOL" else DATATYPES[datatype]
