"""Open Inference Protocol V2: the bytes of an inference request → matrix and what is wanted. Pure.

JSON and the binary tensor data extension. The answers are `v2_answers`'s.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead_service.errors import MalformedBody
from fairlead_service.inference import matrix_checks, tensors
from fairlead_service.inference.matrix_checks import kind, quoted
from fairlead_service.inference.tensors import BF16, DATATYPES, Tensor, invalid
from fairlead_service.models.backends import Matrix, Want
from fairlead_service.models.bundle import Manifest

PREDICT, PROBABILITIES, SCORES = "predict", "predict_proba", "decision_function"
_MOST_LISTS: Final = 500_000
_LENGTH_DIGITS: Final = 15


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    binary: bool
    """Whether it is wanted in binary, after the JSON."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    matrix: Matrix
    """Shape (n, n_features), C-contiguous."""
    outputs: tuple[Output, ...]
    id: str | None
    extra: int = 0
    """Inputs that the model does not have, and that were ignored."""

    @property
    def want(self) -> Want:
        names = {output.name for output in self.outputs}
        return Want(PROBABILITIES in names, SCORES in names)


def decode(body: bytes, header_length: bytes | None, manifest: Manifest, max_rows: int) -> InferRequest:
    """Reads the body of an inference request for a model.

    `header_length`: the value of `Inference-Header-Content-Length`, the length of the JSON that binary data follow.
    Raises MalformedBody, InvalidTensor or TooManyRows.
    """
    head, tail = _split(body, header_length)
    lists = min(max_rows * manifest.n_features, _MOST_LISTS) + matrix_checks.OTHER_LISTS
    too_many = f"the body has more than {lists} lists and objects; send data flat, or fewer rows"
    document = matrix_checks.json_object(head, lists, too_many)
    request_id = document.get("id")
    if not isinstance(request_id, str | None):
        raise invalid("/id", f"id is {kind(request_id)}; send a string")
    parameters = _parameters(document, "")
    outputs = _outputs(document.get("outputs"), _flag(parameters, "binary_data_output", "", False), manifest)
    inputs, extra = _tensors(document, tail, manifest)
    matrix = tensors.matrix(inputs, manifest, max_rows, by_name=len(inputs) + extra > 1)
    return InferRequest(matrix, outputs, request_id or None, extra)


def _split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    length = json_length(header_length, body)
    return body[:length], memoryview(body)[length:]


def json_length(header_length: bytes, body: bytes) -> int:
    """How many bytes of the body are JSON, by the value of `Inference-Header-Content-Length`. Raises MalformedBody."""
    if not header_length.isdigit() or len(header_length) > _LENGTH_DIGITS:
        shown = header_length[:100].decode("latin-1")
        raise MalformedBody(f"Inference-Header-Content-Length is {shown!r}; send the length of the JSON in bytes")
    length = int(header_length)
    if length > len(body):
        raise MalformedBody(f"Inference-Header-Content-Length is {length}, but the body has only {len(body)} bytes")
    return length


def _outputs(value: object, binary: bool, manifest: Manifest) -> tuple[Output, ...]:
    if value is None or value == []:
        return (Output(PREDICT, binary),)
    if not isinstance(value, list):
        raise invalid("/outputs", f"outputs is {kind(value)}; send a list of objects with a name")
    has = available(manifest)
    found: dict[str, Output] = {}
    for index, item in enumerate(value):
        where = f"/outputs/{index}"
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise invalid(where, f"outputs[{index}] has no name; send one of {quoted(has)}")
        if name not in has:
            detail = f"outputs[{index}] is {name[:100]!r}, which the model, {manifest.estimator}, does not have"
            raise invalid(f"{where}/name", f"{detail}; it has {quoted(has)}")
        if name in found:
            raise invalid(f"{where}/name", f"outputs[{index}] asks for {name!r} again; ask for each once")
        parameters = _parameters(item, where)
        if "classification" in parameters or "shared_memory_region" in parameters:
            detail = f"outputs[{index}] asks for classification or shared memory, which are not supported"
            raise invalid(f"{where}/parameters", f"{detail}; the answer carries the tensors")
        found[name] = Output(name, _flag(parameters, "binary_data", where, binary))
    return tuple(found.values())


def available(manifest: Manifest) -> list[str]:
    """Names of the outputs that a model has."""
    return [PREDICT] + [PROBABILITIES] * manifest.has_probabilities + [SCORES] * manifest.has_scores


def _tensors(document: dict[str, Any], tail: memoryview, manifest: Manifest) -> tuple[list[Tensor], int]:
    """The inputs that the model has, and how many others there are; binary data are shared out in their order and must
    be used up."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise invalid("/inputs", "inputs is missing or empty; send a list of tensors")
    names = frozenset(manifest.feature_names or ()) if len(inputs) > 1 else frozenset()
    known = any(isinstance(value, dict) and _is_of(names, value.get("name")) for value in inputs)
    found, start = [], 0
    for index, value in enumerate(inputs):
        where, place = f"/inputs/{index}", f"inputs[{index}]"
        if known and isinstance(value, dict) and not _is_of(names, value.get("name")):
            start += _skipped(where, place, value, len(tail) - start)
            continue
        tensor, start = _tensor(where, place, value, tail, start)
        found.append(tensor)
    if start != len(tail):
        detail = f"{len(tail)} bytes follow the JSON, but the inputs' binary_data_size add up to {start}"
        raise invalid("/inputs", f"{detail}; they must be equal")
    return found, len(inputs) - len(found)


def _is_of(names: frozenset[str], name: object) -> bool:
    return isinstance(name, str) and name in names


def _skipped(where: str, place: str, value: dict[str, Any], left: int) -> int:
    """Bytes after the JSON that belong to an input which the model does not have, of whatever datatype."""
    size = _parameters(value, where).get("binary_data_size", 0)
    if type(size) is not int or not 0 <= size <= left:
        detail = f"{place} has binary_data_size {str(size)[:30]}, but {left} bytes are left after the JSON"
        raise invalid(f"{where}/parameters/binary_data_size", detail)
    return size


def _tensor(where: str, place: str, value: object, tail: memoryview, start: int) -> tuple[Tensor, int]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise invalid(where, f"{place} is not an object with a name; send name, datatype, shape and data")
    name, datatype = value["name"], value.get("datatype")
    label = f"{place}, {name[:100]!r},"
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        shown = repr(datatype[:100]) if isinstance(datatype, str) else kind(datatype)
        detail = f"{label} has datatype {shown}; the model takes numbers: send one of {', '.join(DATATYPES)}"
        raise invalid(f"{where}/datatype", detail)
    shape = value.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2 or not all(type(n) is int and n > 0 for n in shape):
        shown = str(shape)[:100] if isinstance(shape, list) else kind(shape)
        raise invalid(f"{where}/shape", f"{label} has shape {shown}; send one or two positive numbers")
    parameters, data = _parameters(value, where), value.get("data")
    tensor = Tensor(where, name, datatype, tuple(shape), data if isinstance(data, list) else [])
    if "shared_memory_region" in parameters:
        raise invalid(f"{where}/parameters", f"{label} is in shared memory, which is not supported; send its data")
    size = parameters.get("binary_data_size")
    if size is not None:
        _check_size(tensor, label, size, data is not None, len(tail) - start)
        return replace(tensor, data=tail[start : start + size]), start + size
    if not isinstance(data, list):
        raise invalid(f"{where}/data", f"{label} has data {kind(data)}; send a list, or binary_data_size")
    if datatype == BF16:
        raise invalid(f"{where}/datatype", f"{label} is BF16, which JSON can't say; send it in binary")
    return tensor, start


def _check_size(tensor: Tensor, label: str, size: object, has_data: bool, left: int) -> None:
    """Raises InvalidTensor unless there are as many bytes as the tensor takes, and nothing else."""
    where = f"{tensor.where}/parameters/binary_data_size"
    if has_data:
        raise invalid(where, f"{label} has data and binary_data_size; send one of them")
    if type(size) is not int or size != tensor.size:
        shown = str(size)[:30] if isinstance(size, int | float) else kind(size)
        takes = f"{tensor.datatype} of shape {list(tensor.shape)} takes {tensor.size} bytes"
        raise invalid(where, f"{label} has binary_data_size {shown}, but {takes}")
    if size > left:
        detail = f"{label} has binary_data_size {size}, but {left} bytes are left after the JSON; send all of them"
        raise invalid(where, f"{detail}, and Inference-Header-Content-Length with the length of the JSON")


def _parameters(value: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise invalid(f"{where}/parameters", f"parameters is {kind(parameters)}; send an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, where: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"{where}/parameters/{name}", f"{name} is {kind(value)}; send true or false")
    return value
