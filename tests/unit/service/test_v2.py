"""Open Inference Protocol V2: what requests mean, what answers are, and what is said of those that are wrong."""

import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.errors import MalformedBody, Problem, TooManyRows
from fairlead_service.inference import v2, v2_answers
from fairlead_service.inference.tensors import DATATYPES, InvalidTensor
from fairlead_service.inference.v2 import InferRequest, Output
from fairlead_service.inference.v2_answers import OtherModel
from fairlead_service.models.backends import Outputs, Want
from fairlead_service.models.bundle import Identity, Manifest, Proof
from tests.unit.service.support import RUN_A, RUN_B, X, api_settings, running, tree, write_bundle

MAX_ROWS = 50
NAMES = ("a", "b", "c")
ROWS = [[1.5, -2.0, 3.25], [0.1, 5e-324, 1.7976931348623157e308]]
FLAT = [value for row in ROWS for value in row]


def manifest(**changes: Any) -> Manifest:
    made = Manifest(
        identity=Identity(run_id=RUN_A, model_uri=f"runs:/{RUN_A}/model", name="iris", version="3"),
        backend="sklearn",
        estimator="sklearn.tree.DecisionTreeClassifier",
        task="classification",
        n_features=3,
        feature_names=NAMES,
        classes=(0, 1),
        has_probabilities=True,
        proof=Proof(rows=1, verdict="loaded"),
        created_at=datetime.now(UTC),
    )
    return made.model_copy(update=changes)


def tensor(
    data: Any = FLAT, shape: Any = (2, 3), datatype: Any = "FP64", name: Any = "x", **more: Any
) -> dict[str, Any]:
    fields = {"name": name, "shape": list(shape), "datatype": datatype, **more}
    return fields if data is None else fields | {"data": data}


def binary(size: Any, shape: Any = (2, 3), datatype: str = "FP64", name: str = "x") -> dict[str, Any]:
    return tensor(None, shape, datatype, name, parameters={"binary_data_size": size})


def body(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def decode(content: bytes, tail: bytes | None = None, model: Manifest | None = None) -> InferRequest:
    length = None if tail is None else b"%d" % len(content)
    return v2.decode(content + (tail or b""), length, model or manifest(), MAX_ROWS)


@pytest.mark.parametrize("data", [FLAT, ROWS])
def test_data_may_be_flat_or_nested(data: Any) -> None:
    request = decode(body(tensor(data)))
    assert request.matrix.tolist() == ROWS
    assert (request.matrix.dtype, request.matrix.flags.c_contiguous) == (np.float64, True)
    assert (request.outputs, request.id, request.want) == ((Output("predict", False),), None, Want())


def test_one_row_may_have_one_dimension() -> None:
    assert decode(body(tensor(ROWS[0], [3]))).matrix.tolist() == [ROWS[0]]
    one_feature = manifest(n_features=1, feature_names=None)
    assert decode(body(tensor([1, 2, 3], [3])), model=one_feature).matrix.tolist() == [[1.0], [2.0], [3.0]]
    assert decode(body(tensor([[1], [2]], [2, 1])), model=one_feature).matrix.tolist() == [[1.0], [2.0]]


def test_a_tensor_for_each_feature_is_matched_by_name() -> None:
    tail = np.array([0.1, 0.7], "<f4").tobytes() + b"\x01\x00"
    request = decode(
        body(
            binary(8, [2, 1], "FP32", "c"),
            tensor([[7], [8]], [2, 1], "INT8", "a"),
            binary(2, [2], "BOOL", "b"),
        ),
        tail,
    )
    assert request.matrix.tolist() == [[7.0, 1.0, float(np.float32(0.1))], [8.0, 0.0, float(np.float32(0.7))]]


def test_inputs_that_the_model_does_not_have_are_ignored_and_counted() -> None:
    tail = b"\x05\x00\x00\x00words" + np.array([3.0, 4.0]).tobytes()
    request = decode(
        body(
            binary(9, [1], "BYTES", "id"),
            tensor([1, 2], [2], name="a"),
            tensor([["x"], ["y"]], [2, 1], "BYTES", "day"),
            tensor([5, 6], [2], name="c"),
            binary(16, [2], "FP64", "b"),
        ),
        tail,
    )
    assert (request.matrix.tolist(), request.extra) == ([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]], 2)
    alone = body(tensor([1, 2], [2], name="a"), tensor([1], [1], "BYTES", "id"))
    with pytest.raises(InvalidTensor, match="no input 'b', 'c'"):
        decode(alone)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_binary_and_json_mean_the_same(datatype: str) -> None:
    kind = np.dtype("<f4" if datatype == "BF16" else DATATYPES[datatype])
    values = np.array([0, 1, 1, 0, 0, 1] if datatype == "BOOL" else [0, 1, 2, 100, 101, 127]).astype(kind)
    stored = (values.view(np.uint32) >> 16).astype("<u2") if datatype == "BF16" else values
    request = decode(body(binary(stored.nbytes, datatype=datatype)), stored.tobytes())
    assert request.matrix.ravel().tolist() == values.astype(float).tolist()
    if datatype != "BF16":
        listed = [bool(v) for v in values] if datatype == "BOOL" else values.tolist()
        assert np.array_equal(decode(body(tensor(listed, datatype=datatype))).matrix, request.matrix)


def test_a_number_is_what_its_datatype_makes_of_it() -> None:
    matrix = decode(body(tensor([0.1] * 6, datatype="FP32"))).matrix
    assert matrix[0, 0] == float(np.float32(0.1)) != 0.1


def test_missing_values_are_taken_if_the_model_takes_them() -> None:
    model = manifest(accepts_missing=True)
    nan = np.array([np.nan, 1, 2, 3, 4, 5])
    for request in (
        decode(body(tensor([None, 1, 2, 3, 4, 5])), model=model),
        decode(body(tensor([float("nan"), 1, 2, 3, 4, 5], datatype="FP32")), model=model),
        decode(body(binary(48)), nan.tobytes(), model),
    ):
        assert np.array_equal(request.matrix.ravel(), nan, equal_nan=True)


@pytest.mark.parametrize("datatype", ["INT64", "BOOL"])
def test_null_in_a_datatype_without_it_is_said_to_be_that(datatype: str) -> None:
    with pytest.raises(InvalidTensor, match=rf"row 0, column 1, b is null, which is no {datatype}; send .* as FP64"):
        decode(body(tensor([True, None, True], [3], datatype)), model=manifest(accepts_missing=True))


def test_the_largest_integers_are_of_their_datatype() -> None:
    assert decode(body(tensor([2**63 - 1, 0, -(2**63)], [3], "INT64"))).matrix[0, 0] == 2.0**63
    assert decode(body(tensor([2**64 - 1, 0, 1], [3], "UINT64"))).matrix[0, 0] == 2.0**64


def test_outputs_are_those_asked_for_in_their_order() -> None:
    asked = [{"name": "predict_proba"}, {"name": "predict", "parameters": {"binary_data": False}}]
    request = decode(body(tensor(), outputs=asked, parameters={"binary_data_output": True, "priority": 3}, id="i"))
    assert request.outputs == (Output("predict_proba", True), Output("predict", False))
    assert (request.want, request.id) == (Want(probabilities=True), "i")


@dataclass(frozen=True)
class Case:
    """`says` are fragments of the detail, `pointer` is the first error's."""

    name: str
    content: bytes
    says: tuple[str, ...]
    pointer: str | None = None
    tail: bytes | None = None
    kind: type[Problem] = InvalidTensor


def case(name: str, content: bytes, *says: str, **more: Any) -> Case:
    return Case(name, content, says, **more)


NAN = np.array([1, 2, 3, 4, np.nan, 6]).tobytes()
SIZE = "/inputs/0/parameters/binary_data_size"
BAD = [
    case("empty", b"", "not valid JSON", kind=MalformedBody),
    case("a list", b"[]", "is a list", kind=MalformedBody),
    case("not UTF-8 and NaN", b'{"NaN\xff": NaN}', "not valid JSON", kind=MalformedBody),
    case("too deep", b'{"NaN":' + b"[" * 1500, "not valid JSON", kind=MalformedBody),
    case("no inputs", b"{}", "inputs is missing", pointer="/inputs"),
    case("inputs empty", body(), "inputs is missing or empty"),
    case("inputs an object", b'{"inputs": {}}', "inputs is missing"),
    case("input a number", body(3), "inputs[0] is not an object", pointer="/inputs/0"),
    case("no name", body({"shape": [1]}), "with a name"),
    case("no datatype", body(tensor(datatype=None)), "datatype null", "send one of BOOL", pointer="/inputs/0/datatype"),
    case("strings", body(tensor(["x"] * 6, datatype="BYTES")), "inputs[0], 'x',", "'BYTES'", "takes numbers"),
    case("datatype a list", body(tensor(datatype=["FP64"])), "datatype a list"),
    case("no shape", body({"name": "x", "datatype": "FP64"}), "shape null", pointer="/inputs/0/shape"),
    case("shape too long", body(tensor(shape=[1, 2, 3])), "shape [1, 2, 3]", "one or two positive"),
    case("shape empty", body(tensor(shape=[])), "shape []"),
    case("shape negative", body(tensor(shape=[-2, 3])), "shape [-2, 3]"),
    case("no rows", body(tensor([], shape=[0, 3])), "shape [0, 3]", "positive"),
    case("shape of booleans", body(tensor(shape=[True, 3])), "shape [True, 3]"),
    case("shape of floats", body(tensor(shape=[2.0, 3])), "shape [2.0, 3]"),
    case("too wide", body(tensor(FLAT, [3, 2])), "input 'x' has shape [3, 2]; send [rows, 3], or [3] for one row"),
    case("one row too long", body(tensor(FLAT, [6])), "shape [6]; send [rows, 3]"),
    case("too many rows", body(tensor(FLAT, [51, 3])), "51 rows; at most 50", kind=TooManyRows),
    case("huge shape", body(tensor(FLAT, [2**62, 3])), "at most 50", kind=TooManyRows),
    case(
        "data too short",
        body(tensor(FLAT[:5])),
        "has 5 elements in data, but shape [2, 3]; send 6",
        pointer="/inputs/0/data",
    ),
    case("data ragged", body(tensor([[1, 2, 3], [1, 2]])), "2 values in row 1", pointer="/inputs/0/data/1"),
    case("data half nested", body(tensor([[1, 2, 3], 4])), "a number in row 1"),
    case("data nested too deep", body(tensor([[[1], 2, 3], [1, 2, 3]])), "row 0, column 0, a is a list"),
    case("rows missing", body(tensor([ROWS[0]])), "has 1 elements in data"),
    case("data a number", body(tensor(5)), "has data a number; send a list"),
    case("no data", body(tensor(None)), "has data null; send a list, or binary_data_size"),
    case("a string", body(tensor([*FLAT[:5], "6"])), "row 1, column 2, c is a string", pointer="/inputs/0/data/5"),
    case(
        "a boolean",
        body(tensor([[1, 2, 3], [4, True, 6]])),
        "row 1, column 1, b is a boolean",
        pointer="/inputs/0/data/1/1",
    ),
    case("null", body(tensor([None, *FLAT[1:]])), "row 0, column 0, a is null", "no missing values"),
    case(
        "NaN in JSON",
        body(tensor([*FLAT[:4], float("nan"), 1])),
        "row 1, column 1, b is NaN",
        pointer="/inputs/0/data/4",
    ),
    case("infinite in JSON", body(tensor([*FLAT[:4], float("inf"), 1])), "row 1, column 1, b is infinite"),
    case(
        "1e400",
        b'{"inputs":[{"name":"x","shape":[3],"datatype":"FP64","data":[1,1e400,1]}]}',
        "column 1, b is infinite",
    ),
    case(
        "digits",
        b'{"inputs":[{"name":"x","shape":[3],"datatype":"FP64","data":[1,%s,NaN]}]}' % (b"9" * 400),
        "column 1, b is infinite",
    ),
    case("too large for FP32", body(tensor([1, 1e39, 3], [3], "FP32")), "column 1, b is 1e+39, which is no FP32"),
    case("too large for FP16", body(tensor([1, 70000, 3], [3], "FP16")), "is 70000.0, which is no FP16"),
    case("too large for INT8", body(tensor([1, 2, 128], [3], "INT8")), "column 2, c is 128.0, which is no INT8"),
    case("one over UINT64", body(tensor([1, 2, 2**64], [3], "UINT64")), "no UINT64"),
    case("one over INT64", body(tensor([1, 2, 2**63], [3], "INT64")), "no INT64"),
    case("negative UINT8", body(tensor([-1, 2, 3], [3], "UINT8")), "is -1.0, which is no UINT8"),
    case("fraction in INT32", body(tensor([1, 2.5, 3], [3], "INT32")), "is 2.5, which is no INT32"),
    case("numbers in BOOL", body(tensor([True, 1, False], [3], "BOOL")), "column 1, b is a number; send true or false"),
    case("BF16 in JSON", body(tensor([1, 2, 3], [3], "BF16")), "in binary"),
    case("shared memory", body(tensor(parameters={"shared_memory_region": "r"})), "shared memory", "not supported"),
    case("parameters a list", body(tensor(parameters=[])), "parameters is a list", pointer="/inputs/0/parameters"),
    case("id a number", body(tensor(), id=3), "id is a number; send a string", pointer="/id"),
    case("outputs an object", body(tensor(), outputs={}), "outputs is an object"),
    case(
        "output a string", body(tensor(), outputs=["predict"]), "outputs[0] has no name", "'predict', 'predict_proba'"
    ),
    case("unknown output", body(tensor(), outputs=[{"name": "y"}]), "outputs[0] is 'y'", pointer="/outputs/0/name"),
    case("no such output", body(tensor(), outputs=[{"name": "decision_function"}]), "does not have"),
    case("output twice", body(tensor(), outputs=[{"name": "predict"}] * 2), "asks for 'predict' again"),
    case(
        "classification",
        body(tensor(), outputs=[{"name": "predict", "parameters": {"classification": 2}}]),
        "not supported",
    ),
    case(
        "binary_data a number",
        body(tensor(), outputs=[{"name": "predict", "parameters": {"binary_data": 1}}]),
        "binary_data is a number",
    ),
    case(
        "binary_data_output null", body(tensor(), parameters={"binary_data_output": None}), "binary_data_output is null"
    ),
    case("two inputs of others' names", body(tensor(name="a"), tensor(name="z")), "no input 'b', 'c'", "'a', 'b', 'c'"),
    case("an input too many, and one too few", body(*(tensor([1], [1], name=n) for n in "abd")), "no input 'c'"),
    case("an input twice", body(*(tensor([1], [1], name=n) for n in "abca")), "same name"),
    case(
        "unequal rows",
        body(*(tensor([1] * k, [k], name=n) for n, k in zip("abc", (2, 2, 1), strict=True))),
        "'c' has 1 rows",
        "'a' has 2",
        pointer="/inputs/2/shape",
    ),
    case(
        "a wide column",
        body(tensor(name="a"), *(tensor([1], [1], name=n) for n in "bc")),
        "'a' has shape [2, 3]; send [rows, 1] or [rows]",
    ),
    case(
        "NaN in a column",
        body(*(tensor([1, v], [2, 1], name=n) for n, v in zip("abc", (1, float("nan"), 1), strict=True))),
        "row 1, column 1, b is NaN",
        pointer="/inputs/1/data/1",
    ),
    case("NaN in binary", body(binary(48)), "row 1, column 1, b is NaN; send a finite number", tail=NAN),
    case(
        "BOOL byte",
        body(binary(6, datatype="BOOL")),
        "row 1, column 2, c is a byte other than 0 and 1",
        tail=b"\0\1\0\1\0\2",
    ),
    case(
        "size without bytes",
        body(binary(48)),
        "48, but 0 bytes are left",
        "Inference-Header-Content-Length",
        pointer=SIZE,
    ),
    case(
        "size too large", body(binary(56)), "size 56, but FP64 of shape [2, 3] takes 48", pointer=SIZE, tail=b"\0" * 56
    ),
    case("size negative", body(binary(-48)), "size -48", pointer=SIZE, tail=b"\0" * 48),
    case("size huge", body(binary(2**63)), "takes 48 bytes", tail=b"\0" * 48),
    case("size a float", body(binary(48.0)), "size 48.0", tail=b"\0" * 48),
    case("size a boolean", body(binary(True, [1, 1], "INT8")), "takes 1 bytes", tail=b"\0"),
    case("size and data", body(tensor(parameters={"binary_data_size": 48})), "one of them", tail=b"\0" * 48),
    case("bytes too few", body(binary(48)), "48, but 47 bytes are left", tail=b"\0" * 47),
    case("bytes too many", body(binary(48)), "49 bytes follow", "add up to 48", tail=b"\0" * 49),
    case("overlapping", body(*(binary(16, [2], name=n) for n in "abc")), "but 15 bytes are left", tail=b"\0" * 47),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_what_is_wrong_is_said(case: Case) -> None:
    with pytest.raises(Problem) as caught:
        decode(case.content, case.tail)
    assert type(caught.value) is case.kind, caught.value.detail
    for fragment in case.says:
        assert fragment in caught.value.detail
    if case.pointer is not None:
        assert caught.value.errors[0].pointer == case.pointer


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"9" * 5000, b"1e3", b"99999", "²".encode("latin-1")])
def test_the_length_of_the_json_is_checked(length: bytes) -> None:
    with pytest.raises(MalformedBody, match="Inference-Header-Content-Length is"):
        v2.decode(body(tensor()), length, manifest(), MAX_ROWS)


def test_lists_without_end_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooManyRows):
        decode(b'{"inputs":[' + b"[]," * 5000 + b"[]]}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
FIELDS = ("name", "datatype", "shape", "data", "parameters")


def outcome(content: bytes, length: bytes | None, model: Manifest) -> None:
    """A request, or a problem that says something; nothing else."""
    refused: Problem | None = None
    try:
        request = v2.decode(content, length, model, MAX_ROWS)
    except Problem as raised:
        refused = raised
    if refused is not None:
        assert refused.status in (400, 413)
        assert refused.detail
        return
    assert request.matrix.shape[1] == model.n_features
    assert request.matrix.shape[0] <= MAX_ROWS
    assert np.isfinite(request.matrix).all()


@given(st.binary(), st.none() | st.binary(max_size=6) | st.integers(-1, 60).map(lambda n: b"%d" % n))
def test_any_bytes_are_a_request_or_a_problem(content: bytes, length: bytes | None) -> None:
    outcome(content, length, manifest())


@given(st.fixed_dictionaries({}, optional={"inputs": JSON, "outputs": JSON, "parameters": JSON, "id": JSON}))
def test_any_json_is_a_request_or_a_problem(document: Any) -> None:
    outcome(json.dumps(document).encode(), None, manifest())


@given(st.sampled_from(FIELDS), JSON, st.sampled_from(list(DATATYPES)), st.booleans())
def test_any_change_of_a_right_input_is_a_request_or_a_problem(field: str, value: Any, kind: str, small: bool) -> None:
    changed = tensor([1, 0, 1, 1, 0, 0], datatype=kind) | {field: value}
    outcome(body(changed), None, manifest(n_features=1, feature_names=None) if small else manifest())


SIZES = st.integers(-3, 60) | st.integers() | st.sampled_from([8, 16, 48, 2**31, 2**63, -(2**63)])


@given(
    st.lists(st.tuples(SIZES, st.lists(SIZES, max_size=3), st.sampled_from([*DATATYPES, "BYTES"])), max_size=4),
    st.binary(max_size=100),
    st.integers(-50, 50),
)
def test_any_lengths_in_binary_are_a_request_or_a_problem(inputs: Any, tail: bytes, shift: int) -> None:
    described = (binary(size, shape, kind, "abcd"[i]) for i, (size, shape, kind) in enumerate(inputs))
    content = body(*described)
    outcome(content + tail, b"%d" % max(0, len(content) + shift), manifest())
    outcome(content + tail, b"%d" % len(content), manifest())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=30), st.sampled_from("JB"))
def test_every_bit_of_a_double_arrives(values: list[float], form: str) -> None:
    values = values[: len(values) // 3 * 3]
    shape = [len(values) // 3, 3]
    stored = np.array(values)
    if form == "J":
        request = decode(body(tensor(values, shape)))
    else:
        request = decode(body(binary(stored.nbytes, shape)), stored.tobytes())
    assert request.matrix.tobytes() == stored.tobytes()


def answer(outputs: Outputs, asked: tuple[Output, ...], model: Manifest, id: str | None = None) -> tuple[Any, bytes]:
    request = InferRequest(np.zeros((1, 3)), asked, id)
    content, length = v2_answers.encode(outputs, request, model)
    return json.loads(content[:length]), b"" if length is None else content[length:]


@pytest.mark.parametrize(
    ("classes", "predictions", "datatype", "packed"),
    [
        ((0, 7), np.array([7, 0]), "INT64", struct.pack("<qq", 7, 0)),
        ((0.5, 1.0), np.array([0.5, 1.0]), "FP64", struct.pack("<dd", 0.5, 1.0)),
        (None, np.array([0.1, 2.0], np.float32), "FP64", struct.pack("<dd", np.float32(0.1), 2.0)),
        ((False, True), np.array([True, False]), "BOOL", b"\1\0"),
        (("ä", "bb"), np.array(["ä", "bb"]), "BYTES", b"\2\0\0\0\xc3\xa4\2\0\0\0bb"),
        (("ä", ""), np.array(["ä", ""], object), "BYTES", b"\2\0\0\0\xc3\xa4\0\0\0\0"),
    ],
)
def test_predictions_have_the_datatype_of_the_labels(
    classes: Any, predictions: Any, datatype: str, packed: bytes
) -> None:
    model = manifest(classes=classes)
    listed, rest = answer(Outputs(predictions), (Output("predict", False),), model, "seven")
    assert rest == b""
    assert listed == {
        "model_name": "iris",
        "model_version": "3",
        "id": "seven",
        "parameters": {"run_id": RUN_A},
        "outputs": [{"name": "predict", "datatype": datatype, "shape": [2], "data": predictions.tolist()}],
    }
    described, rest = answer(Outputs(predictions), (Output("predict", True),), model)
    assert described["outputs"][0]["parameters"] == {"binary_data_size": len(packed)}
    assert rest == packed
    assert v2_answers.metadata(model)["outputs"][0]["datatype"] == datatype


def test_matrices_are_written_row_by_row_whatever_their_order_in_memory() -> None:
    probabilities = np.asfortranarray([[0.25, 0.75], [0.5, 0.5]])
    outputs = Outputs(np.array([1, 0]), probabilities, np.array([2.0, -1.0]))
    asked = (Output("predict_proba", True), Output("decision_function", False), Output("predict_proba", False))
    described, rest = answer(outputs, asked, manifest())
    assert rest == probabilities.tobytes("C")
    assert [tensor.get("data") for tensor in described["outputs"]] == [None, [2.0, -1.0], [0.25, 0.75, 0.5, 0.5]]
    assert [tensor["shape"] for tensor in described["outputs"]] == [[2, 2], [2], [2, 2]]


def test_a_model_goes_by_three_names() -> None:
    unregistered = manifest(identity=Identity(run_id=RUN_A, model_uri="runs:/x"))
    for name, version in (("iris", None), ("iris", "3"), (RUN_A, None), ("model", RUN_A)):
        v2_answers.check_model(manifest(), name, version)
    v2_answers.check_model(unregistered, RUN_A, RUN_A)
    for model, name, version in (
        (manifest(), "tulips", None),
        (manifest(), "Iris", None),
        (manifest(), RUN_B, None),
        (manifest(), "iris", "4"),
        (unregistered, "iris", None),
        (unregistered, "model", "1"),
    ):
        with pytest.raises(OtherModel, match="this server has"):
            v2_answers.check_model(model, name, version)


async def test_errors_have_the_protocols_form_and_ours(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path / "bundle", tree()).directory
    infer, good = "/v2/models/model/infer", tensor(X.tolist(), X.shape)
    async with running(api_settings(tmp_path, max_body_bytes=1000)) as (client, services):
        for method, path, content, status in (
            ("GET", "/v2/health/ready", b"", 503),
            ("GET", "/v2/models/model", b"", 503),
            ("GET", "/v2/models/model/ready", b"", 503),
            ("POST", infer, body(good), 503),
        ):
            await problem(client, method, path, content, status)
        assert (await client.post("/v2/repository/index")).json() == []
        await services.activate(directory)
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.post(infer, content=body(good))).json()["outputs"][0]["data"] == [0, 0, 1, 1]
        for method, path, content, status in (
            ("POST", infer, body(tensor()), 400),
            ("POST", infer, b"{", 400),
            ("POST", infer, b" " * 1001, 413),
            ("POST", infer, body(tensor([1e39, 1, 1, 1], [4])), 400),
            ("POST", "/v2/models/tulips/infer", body(good), 404),
            ("POST", "/v2/models/model/versions/9/infer", body(good), 404),
            ("GET", "/v2/models/tulips", b"", 404),
            ("GET", "/v2/models/model/versions/9/ready", b"", 404),
            ("GET", infer, b"", 405),
            ("PUT", "/v2/models/model/versions/9/infer", b"", 405),
            ("DELETE", "/v2/health/ready", b"", 405),
            ("PATCH", "/v2/models/model", b"", 405),
            ("POST", "/v2/models/model/generate", b"", 404),
        ):
            await problem(client, method, path, content, status)
        assert (await client.get(infer)).headers["allow"] == "POST"
        assert (await client.delete("/v2/health/ready")).headers["allow"] == "GET, HEAD"
        answer = await client.post(infer, content=body(good), headers={"content-type": "text/csv"})
        assert answer.status_code == 415
        services.drain.begin()
        await problem(client, "GET", "/v2/health/ready", b"", 503)


async def problem(client: Any, method: str, path: str, content: bytes, status: int) -> None:
    answer = await client.request(method, path, content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    told = answer.json()
    assert told["error"] == told["detail"] != ""
    assert (told["status"], told["instance"]) == (status, f"urn:fairlead:request:{answer.headers['x-request-id']}")
