import contextlib
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import example, mlmodel
from fairlead_service.models.bundle import MOST_COLUMNS

SKLEARN = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": "1.9.1"}


def document(**changes: Any) -> bytes:
    whole = {"flavors": {"sklearn": SKLEARN, "python_function": {"python_version": "3.11.7"}}} | changes
    return yaml.safe_dump(whole).encode()


def reason_of(text: bytes) -> FailureReason:
    with pytest.raises(LoadError) as caught:
        mlmodel.describe(text)
    return caught.value.reason


def test_describe() -> None:
    found = mlmodel.describe(
        document(
            signature={"inputs": '[{"type": "double", "name": "a"}]', "outputs": None},
            saved_input_example_info={"artifact_path": "input_example.json"},
        )
    )
    assert found.model_file == "model.skops"
    assert found.serialization == "skops"
    assert found.versions == {"scikit-learn": "1.9.1", "python": "3.11.7"}
    assert found.signature == {"inputs": [{"type": "double", "name": "a"}], "outputs": None}
    assert found.example_file == "input_example.json"


def test_other_flavors_are_named() -> None:
    with pytest.raises(LoadError, match="pytorch") as caught:
        mlmodel.describe(document(flavors={"pytorch": {}}))
    assert caught.value.reason is FailureReason.MODEL_UNSUPPORTED


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe\x00", b"flavors: 3", b"a: *b", b"x" * 10, b"[" * 5000])
def test_corrupt(text: bytes) -> None:
    assert reason_of(text) is FailureReason.MODEL_CORRUPT


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "a\\b", "", "a\0", None, ["x"]])
def test_names_that_lead_elsewhere(name: Any) -> None:
    with pytest.raises(LoadError) as caught:
        mlmodel.file_name(name)
    assert caught.value.reason is FailureReason.MODEL_REFUSED
    if name:
        assert (
            reason_of(document(flavors={"sklearn": SKLEARN | {"pickled_model": name}})) is FailureReason.MODEL_REFUSED
        )


def test_requirements() -> None:
    text = "scikit_learn[x] == 1.9.1 ; python_version > '3'\nnumpy==2.4.6\n# c\n-r other.txt\npandas>=2\n"
    assert mlmodel.requirements(text) == {"scikit-learn": "1.9.1", "numpy": "2.4.6"}


CONDA = """
channels: [conda-forge]
dependencies:
- python=3.11.7
- numpy=2.4.6=py311h1
- pip<=26
- pip: [mlflow==3.17.2, scikit_learn==1.9.1, "scipy>=1"]
name: mlflow-env
"""


def test_environments() -> None:
    known = {"python": "3.11.7", "numpy": "2.4.6", "mlflow": "3.17.2", "scikit-learn": "1.9.1"}
    assert mlmodel.environment(CONDA.encode()) == known
    python_env = b"python: 3.11.7\nbuild_dependencies: [pip==26.1]\ndependencies: [-r requirements.txt]\n"
    assert mlmodel.environment(python_env) == {"python": "3.11.7"}


@given(
    st.one_of(
        st.binary(max_size=50),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["dependencies", "pip", "python"]), inner),
            max_leaves=8,
        ).map(lambda document: json.dumps(document).encode()),
    )
)
def test_environments_of_any_form_say_nothing_or_something(text: bytes) -> None:
    assert all(isinstance(version, str) for version in mlmodel.environment(text).values())


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}]}


def columns(*types: str, named: bool = True) -> dict[str, Any]:
    return {"inputs": [{"type": kind, **({"name": f"c{i}"} if named else {})} for i, kind in enumerate(types)]}


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (None, None),
        ({}, None),
        ({"inputs": []}, None),
        (tensor("float64", -1, 4), mlmodel.Inputs(4, None)),
        (tensor("int64", -1, -1), None),
        (columns("double", "long", "boolean"), mlmodel.Inputs(3, ("c0", "c1", "c2"))),
        (columns("double", named=False), mlmodel.Inputs(1, None)),
        (columns("double", "string"), mlmodel.Inputs(2, ("c0", "c1"), {1: "string"})),
        ({"inputs": [{"type": "long", "name": "x"}, {"type": "long", "name": "x"}]}, mlmodel.Inputs(2, None)),
    ],
)
def test_inputs(signature: Any, expected: mlmodel.Inputs | None) -> None:
    assert mlmodel.inputs(signature) == expected


@pytest.mark.parametrize("signature", [tensor("object", -1, 2), tensor("float64", -1, 2, 2)])
def test_inputs_that_are_no_matrix(signature: Any) -> None:
    with pytest.raises(LoadError, match="numeric matri") as caught:
        mlmodel.inputs(signature)
    assert caught.value.reason is FailureReason.MODEL_UNSUPPORTED


@pytest.mark.parametrize("signature", [tensor("float64", -1, 10**6), columns(*["double"] * (MOST_COLUMNS + 1))])
def test_inputs_that_are_too_wide(signature: Any) -> None:
    with pytest.raises(LoadError, match=f"serves at most {MOST_COLUMNS}"):
        mlmodel.inputs(signature)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "flavors",
                    "sklearn",
                    "data",
                    "inputs",
                    "signature",
                    "saved_input_example_info",
                    "artifact_path",
                    "type",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(json_values)
def test_anything_parses_or_is_named(value: Any) -> None:
    for read in (mlmodel.describe, example.parse):
        with contextlib.suppress(LoadError):
            read(json.dumps(value).encode())
