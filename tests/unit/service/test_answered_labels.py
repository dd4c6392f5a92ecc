"""Labels of every type that numpy has leave by every protocol as what they are, and so do numbers."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fairlead_service.inference import codec, invocations, json_arrays, v2_answers
from fairlead_service.inference.v2 import InferRequest, Output
from fairlead_service.loading.labels import json_labels
from fairlead_service.models.backends import Outputs
from fairlead_service.models.bundle import Manifest
from tests.unit.service.support import X, api_settings, running, tree, write_bundle
from tests.unit.service.test_v2 import body, manifest, tensor

WIDTHS = [f"{order}{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8) for order in "<>"]
FLOATS = [f"{order}f{size}" for size in (2, 4, 8) for order in "<>"]
PROTOCOL = {
    "BOOL": np.dtype(bool), "INT64": np.dtype("<i8"), "UINT64": np.dtype("<u8"), "FP64": np.dtype("<f8"),
}  # fmt: skip
"""How the protocol itself lays its datatypes out."""


def labels(dtype: str) -> st.SearchStrategy[NDArray[Any]]:
    elements = arrays.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    return arrays.arrays(np.dtype(dtype), st.integers(1, 5), elements=elements)


every_label = (
    st.sampled_from([*WIDTHS, *FLOATS, "?"]).flatmap(labels)
    | st.lists(st.text(max_size=5).filter(lambda text: "\0" not in text), min_size=1, max_size=5).map(np.array)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5).map(lambda found: np.array(found, object))
)


def as_read_again(model: Manifest) -> Manifest:
    """The manifest after its way through the bundle."""
    return Manifest.model_validate_json(model.model_dump_json())


def of_v2(predictions: NDArray[Any], model: Manifest, binary: bool) -> tuple[str, list[Any]]:
    """The datatype, and the labels by nothing but the protocol."""
    request = InferRequest(np.zeros((1, 3)), (Output("predict", binary),), None)
    content, length = v2_answers.encode(Outputs(predictions), request, model)
    found = json.loads(content[:length])["outputs"][0]
    datatype: str = found["datatype"]
    if not binary:
        return datatype, found["data"]
    rest = content[length:]
    assert found["parameters"]["binary_data_size"] == len(rest)
    if datatype in PROTOCOL:
        return datatype, np.frombuffer(rest, PROTOCOL[datatype]).tolist()
    texts = []
    while rest:
        (size,) = struct.unpack_from("<I", rest)
        texts.append(rest[4 : 4 + size].decode())
        rest = rest[4 + size :]
    return datatype, texts


@given(every_label)
def test_labels_are_the_same_by_every_protocol(predictions: NDArray[Any]) -> None:
    model = as_read_again(manifest(classes=json_labels(np.unique(predictions))))
    expected = predictions.tolist()
    answer = json.loads(codec.encode_predict(Outputs(predictions), b'"run_id":"r"', b"[]"))["predictions"]
    assert (answer, list(map(type, answer))) == (expected, list(map(type, expected)))
    assert json.loads(invocations.encode(Outputs(predictions)))["predictions"] == expected
    assert set(expected) <= set(model.classes or ())
    for binary in (False, True):
        datatype, found = of_v2(predictions, model, binary)
        assert (found, list(map(type, found))) == (expected, list(map(type, expected)))
        assert datatype == v2_answers.metadata(model)["outputs"][0]["datatype"]


@given(
    st.sampled_from(FLOATS).flatmap(
        lambda dtype: arrays.arrays(
            np.dtype(dtype),
            arrays.array_shapes(max_dims=2, max_side=5),
            elements=arrays.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
        )
    ),
    st.booleans(),
    st.integers(1, 8),
)
def test_numbers_are_the_doubles_that_they_are(values: NDArray[Any], transposed: bool, most: int) -> None:
    values = values.T if transposed else values
    assert json.loads(json_arrays.dumps(values)) == values.astype(float).tolist()
    assert np.array_equal(np.concatenate(list(json_arrays.slices(values, most))), values)


def test_long_answers_are_written_in_slices_as_short_ones_are() -> None:
    long = np.random.default_rng(0).normal(size=(json_arrays.SLICE_VALUES // 8, 11))
    wide = long.reshape(1, -1)
    for values in (long, long.astype("f4"), long.ravel(), long.ravel().astype(str), wide):
        assert (
            json.loads(json_arrays.dumps(values))
            == (values if values.dtype.kind == "U" else values.astype(float)).tolist()
        )
    assert len(list(json_arrays.slices(long))) == 2
    assert json_arrays.dumps(np.empty((0, 3))) == b"[]"


async def test_labels_beyond_int64_over_http(tmp_path: Path) -> None:
    given = np.array([5, 2**63 + 5, 2**64 - 1, 5], np.uint64)
    directory = write_bundle(tmp_path / "bundle", tree(given)).directory
    expected, asked = given.tolist(), body(tensor(X.tolist(), X.shape))
    async with running(api_settings(tmp_path)) as (client, services):
        await services.activate(directory)
        assert (await client.post("/predict", json={"features": X.tolist()})).json()["predictions"] == expected
        assert (await client.post("/invocations", json={"inputs": X.tolist()})).json()["predictions"] == expected
        output = (await client.post("/v2/models/model/infer", content=asked)).json()["outputs"][0]
        assert (output["datatype"], output["data"]) == ("UINT64", expected)
        assert (await client.get("/v2/models/model")).json()["outputs"][0]["datatype"] == "UINT64"
        assert (await client.get("/model/info")).json()["classes"] == sorted(set(expected))


@pytest.mark.parametrize(
    ("classes", "datatype"),
    [
        ((-(2**63), 2**63 - 1), "INT64"),
        ((0, 2**63), "UINT64"),
        ((0, 2**64 - 1), "UINT64"),
        ((-1, 2**63), "BYTES"),
        ((0.5, 2**53), "FP64"),
        ((0.5, 2**53 + 1), "BYTES"),
        ((True, 2), "BYTES"),
    ],
)
def test_a_datatype_holds_every_label(classes: Any, datatype: str) -> None:
    assert v2_answers.metadata(manifest(classes=classes))["outputs"][0]["datatype"] == datatype
