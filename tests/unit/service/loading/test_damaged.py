"""MLmodel files, signatures and environments that anyone may have written: refused for good, in little time."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_service.contract import FINAL_REASONS, FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import example, mlmodel

FLAVORS = b"flavors:\n  sklearn: {pickled_model: model.skops, serialization_format: skops, sklearn_version: 1.9.1}\n"
LAUGHS = b"a0: &a0 [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 8)) for n in range(1, 12)
)


def ending(read: Callable[[], object]) -> FailureReason | None:
    """Why nothing was read; None if something was. Any other exception fails the test."""
    try:
        read()
    except LoadError as error:
        error.message.encode()
        return error.reason
    return None


CORRUPT = {
    "aliases that unfold": LAUGHS + FLAVORS,
    "an alias in the signature": FLAVORS + b"signature: &s {inputs: *s}\n",
    "an alias of a key": b"? &k flavors\n: *k\n",
    "deep lists": FLAVORS + b"x: " + b"[" * 20_000,
    "deep mappings": FLAVORS + b"x: " + b"{a: " * 20_000,
    "deep blocks": FLAVORS + b"x:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 400)),
    "a signature as YAML": FLAVORS + b"signature: {inputs: [{name: a, type: double}]}\n",
    "a signature of numbers": FLAVORS + b'signature: {inputs: "[1"}\n',
    "a deep signature": FLAVORS + b"signature: {inputs: '" + b"[" * 200 + b"]" * 200 + b"'}\n",
    "a very deep signature": FLAVORS + b"signature: {inputs: '" + b"[" * 100_000 + b"'}\n",
    "a signature with a number of 5,000 digits": FLAVORS + b"signature: {inputs: '" + b"1" * 5000 + b"'}\n",
    "a surrogate": FLAVORS + b'run_id: "\\ud800"\n',
    "a surrogate as a key": FLAVORS + b'"\\ud800": x\n',
    "a surrogate in the signature": FLAVORS + b"signature: {inputs: '[\"\\ud800\"]'}\n",
    "another encoding": FLAVORS.decode().encode("utf-16")[:-1],
    "a control character": FLAVORS + b"x: \x00\n",
    "a list as a key": FLAVORS + b"? [a, b]\n: c\n",
    "a mapping as a key": FLAVORS + b"? {a: b}\n: c\n",
    "a tag of Python": FLAVORS + b"x: !!python/object/apply:os.system [true]\n\t",
    "two documents": FLAVORS + b"---\n" + FLAVORS,
    "no flavors": b"flavors: null\n",
    "a flavor list": b"flavors: [sklearn]\n",
}


@pytest.mark.parametrize("name", CORRUPT)
@pytest.mark.timeout(60)
def test_corrupt(name: str) -> None:
    with pytest.raises(LoadError) as caught:
        mlmodel.describe(CORRUPT[name])
    assert caught.value.reason is FailureReason.MODEL_CORRUPT
    assert len(caught.value.message) < 1000
    caught.value.message.encode()
    assert mlmodel.environment(CORRUPT[name]) == {}


HARMLESS = {
    "a date that is none": b"utc_time_created: 2026-13-45 25:61:61\n",
    "an empty integer": b"mlflow_version: !!int ''\n",
    "a float that is none": b"mlflow_version: !!float x\n",
    "a binary that is none": b"x: !!binary '?'\n",
    "a timestamp": b"x: !!timestamp nonsense\n",
    "a merge of nothing": b"x: {<<: nothing}\n",
    "sets and pairs": b"x: !!set [a]\ny: !!omap [a]\n",
    "a tag of Python": b"x: !!python/object/apply:os.system [true]\n",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_not_read_does_no_harm(name: str) -> None:
    assert mlmodel.describe(FLAVORS + HARMLESS[name]).versions == {"scikit-learn": "1.9.1"}


def test_versions_are_text() -> None:
    assert mlmodel.environment(b"python: 3.10\n") == {"python": "3.10"}
    flavor = b"flavors: {sklearn: {sklearn_version: 1.10}, python_function: {python_version: 3.10}}\n"
    assert mlmodel.describe(flavor).versions == {"scikit-learn": "1.10", "python": "3.10"}
    assert mlmodel.describe(b"flavors: {sklearn: {sklearn_version: null, pickled_model: }}").model_file == "model.pkl"


@pytest.mark.parametrize(
    "inputs",
    [
        [{"type": ["double"], "name": "a"}],
        [{"type": {"x": 1}, "name": "a"}],
        [{"type": "double", "name": {"a": [1]}}, {"type": "double"}],
        [{"type": "tensor", "tensor-spec": {"dtype": {"a": 1}, "shape": [-1, 2]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, True]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1e300]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 10**9]}}],
        [{"type": "tensor", "tensor-spec": 5}],
        [{}],
    ],
)
def test_signatures_of_odd_types_are_refused_or_read(inputs: Any) -> None:
    reason = ending(lambda: mlmodel.inputs({"inputs": json.loads(json.dumps(inputs))}))
    assert reason is None or reason in FINAL_REASONS


@pytest.mark.timeout(30)
def test_requirements_of_blanks() -> None:
    blanks = " " * 100_000
    assert mlmodel.requirements(f"numpy{blanks}=={blanks}1.2\n" * 20) == {}
    assert mlmodel.requirements("a" * 10**6 + "[" * 10**6) == {}
    assert mlmodel.requirements(f"numpy{' ' * 200}=={' ' * 200}1.2") == {"numpy": "1.2"}


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=300)
def test_any_bytes_end_for_good(text: bytes) -> None:
    for content in (text, FLAVORS + text, FLAVORS + b"signature: {inputs: '" + text.replace(b"'", b"''") + b"'}\n"):
        for read in (mlmodel.describe, example.parse):
            reason = ending(lambda read=read, content=content: read(content))
            assert reason is None or reason in FINAL_REASONS


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.dates() | st.binary(max_size=3)
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "flavors": st.fixed_dictionaries(
                {},
                optional={
                    "sklearn": st.fixed_dictionaries(
                        {},
                        optional=dict.fromkeys(["pickled_model", "serialization_format", "sklearn_version"], documents),
                    )
                    | documents,
                    "python_function": documents,
                },
            )
            | documents,
            "signature": st.fixed_dictionaries({}, optional={"inputs": documents, "outputs": documents}) | documents,
            "saved_input_example_info": st.fixed_dictionaries({}, optional={"artifact_path": documents}) | documents,
        },
    )
)
def test_any_document_ends_for_good(document: Any) -> None:
    text = yaml.dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")
    reason = ending(lambda: mlmodel.inputs(mlmodel.describe(text).signature))
    assert reason is None or reason in FINAL_REASONS


PROGRAM = """
import sys, tracemalloc
from fairlead_service.failures import LoadError
from fairlead_service.loading import mlmodel
content = sys.stdin.buffer.read()
tracemalloc.start()
try:
    mlmodel.describe(content)
except LoadError as error:
    print(error.reason, tracemalloc.get_traced_memory()[1])
"""


def test_aliases_take_no_memory() -> None:
    """1.1 KB of them unfold to gigabytes, where they are read."""
    content = CORRUPT["aliases that unfold"]
    assert len(content) < 1200
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=content, capture_output=True, check=True)
    reason, peak = done.stdout.split()
    assert reason == b"ModelCorrupt"
    assert int(peak) < 2**20
