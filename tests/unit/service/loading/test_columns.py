"""Estimator, signature and example each describe the columns: whatever their orders, answers are scikit-learn's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from fairlead_service import native
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.inference import codec, invocations, v2
from fairlead_service.inference.codec import Expected
from fairlead_service.loading import loader, versions
from fairlead_service.loading.columns import Columns, agree
from fairlead_service.loading.example import Example
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.mlmodel import Inputs
from fairlead_service.models.backends import Want, build
from fairlead_service.models.bundle import MOST_COLUMNS, Bundle, Placement
from tests.unit.service.loading.directory import URI, Directory

NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(np.random.default_rng(7).normal(size=(40, 3)) * [1, 10, 100], columns=NAMES)
TARGET = FRAME @ [3.0, -0.5, 0.02] + 1
WITH_ID = FRAME.assign(id="x")[["id", *NAMES]]


def by_name(*names: str) -> Any:
    return make_pipeline(make_column_transformer((StandardScaler(), list(names))), LinearRegression())


MODELS = {
    "plain": LinearRegression().fit(FRAME, TARGET),
    "tree": DecisionTreeRegressor(max_depth=4).fit(FRAME, TARGET),
    "by name": by_name("c", "a").fit(FRAME, TARGET),
    "by name, with a column of text that it drops": by_name("b", "c", "a").fit(WITH_ID, TARGET),
    "by number": make_pipeline(make_column_transformer((StandardScaler(), [2, 0])), LinearRegression()).fit(
        FRAME, TARGET
    ),
    "behind what passes everything on": make_pipeline("passthrough", LinearRegression()).fit(FRAME, TARGET),
}


def write(root: Path, estimator: Any, signature: Sequence[tuple[str, str]] | None, example: Any) -> Directory:
    """A logged model; `signature` is a list of names and types."""
    root.mkdir(parents=True, exist_ok=True)
    installed = versions.installed()["scikit-learn"]
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": installed}
    document: dict[str, Any] = {"flavors": {"sklearn": flavor}}
    if signature is not None:
        columns = [{"type": kind, "name": name, "required": True} for name, kind in signature]
        document["signature"] = {"inputs": json.dumps(columns), "outputs": None, "params": None}
    if example is not None:
        document["saved_input_example_info"] = {"artifact_path": "input_example.json", "type": "dataframe"}
        (root / "input_example.json").write_text(json.dumps(example))
    (root / "MLmodel").write_text(yaml.safe_dump(document))
    (root / "model.skops").write_bytes(skops.io.dumps(estimator))
    return Directory(root)


def load(source: Directory) -> Bundle:
    return loader.load(URI, source.root / "b", source, LoadOptions(), lambda *_: None)


def answers(made: Bundle, rows: pd.DataFrame) -> dict[str, list[float]]:
    """To the same rows, in every form of every protocol that has names, and as lists in the manifest's order."""
    manifest, backend = made.manifest, build(made)
    wanted = list(manifest.feature_names or ())
    expected = Expected("features", 100, manifest.n_features, manifest.feature_names, accepts_missing=False)
    records, split = rows.to_dict("records"), rows.to_dict("split")
    tensors = [
        {
            "name": name,
            "datatype": "BYTES" if name == "id" else "FP64",
            "shape": [len(rows)],
            "data": rows[name].tolist(),
        }
        for name in rows
    ]
    bodies: dict[str, Any] = {
        "objects": codec.decode_predict(json.dumps({"features": records}).encode(), expected),
        "lists": codec.decode_predict(json.dumps({"features": rows[wanted].values.tolist()}).encode(), expected),
        "DataFrame": invocations.decode_json(json.dumps({"dataframe_split": split}).encode(), manifest, 100),
        "records": invocations.decode_json(json.dumps({"dataframe_records": records}).encode(), manifest, 100),
        "columns": invocations.decode_json(json.dumps({"inputs": rows.to_dict("list")}).encode(), manifest, 100),
        "csv": invocations.decode_csv(rows.to_csv(index=False).encode(), manifest, 100),
        "V2": v2.decode(json.dumps({"inputs": tensors}).encode(), None, manifest, 100),
    }
    return {form: backend.evaluate(read.matrix, Want()).predictions.tolist() for form, read in bodies.items()}


@pytest.mark.skipif(not native.available(), reason="columns by name are served compiled only")
@given(data=st.data(), name=st.sampled_from(sorted(MODELS)))
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example is a whole load: shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_order_gives_the_answers_of_the_fitted_one(tmp_path_factory: Any, data: st.DataObject, name: str) -> None:
    estimator = MODELS[name]
    frame = WITH_ID if "text" in name else FRAME
    kinds = {column: "string" if column == "id" else "double" for column in frame}
    signed = data.draw(st.none() | st.permutations(list(frame)), label="signature")
    shown = data.draw(st.none() | st.permutations(list(frame)), label="example")
    if signed is None and shown is None and frame is WITH_ID:
        signed = list(frame)  # else nothing says that the column is text
    extra = [("z", "string")] if signed is not None and data.draw(st.booleans(), label="extra") else []
    signature = None if signed is None else [(column, kinds[column]) for column in signed] + extra
    example = None if shown is None else frame[shown][:4].to_dict("split")
    made = load(write(tmp_path_factory.mktemp("logged"), estimator, signature, example))
    assert list(made.manifest.feature_names or ()) == NAMES
    if shown is not None:
        assert made.manifest.input_example == tuple(map(tuple, FRAME[:4].values.tolist()))
    rows = frame[:5][data.draw(st.permutations(list(frame)), label="request")]
    expected = estimator.predict(frame[:5]).tolist()
    for form, found in answers(made, rows).items():
        assert found == pytest.approx(expected, rel=1e-12), form  # a frame's memory order may cost the last bit
    told = any("another order" in warning for warning in made.manifest.warnings)
    assert told == (signed is not None and [column for column in signed if column != "id"] != NAMES)


@pytest.mark.parametrize("example", [None, FRAME[["a", "c"]][:2].to_dict("split")])
def test_a_signature_that_lacks_a_fitted_column_is_refused(tmp_path: Path, example: Any) -> None:
    with pytest.raises(LoadError, match="fitted on columns that its signature lacks: 'b'") as caught:
        load(write(tmp_path, MODELS["plain"], [("c", "double"), ("a", "double")], example))
    assert caught.value.reason is FailureReason.MODEL_UNSUPPORTED


def test_a_signature_may_lack_a_column_that_the_model_drops(tmp_path: Path) -> None:
    made = load(write(tmp_path, MODELS["by name"], [("c", "double"), ("a", "double")], None))
    assert made.manifest.feature_names == ("a", "c")
    assert made.manifest.placement == Placement(width=3, places=(0, 2))
    expected = MODELS["by name"].predict(FRAME[:3]).tolist()
    assert answers(made, FRAME[["c", "a"]][:3])["objects"] == pytest.approx(expected, rel=1e-12)


def test_a_column_of_text_that_is_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="column 'b' is of type string") as caught:
        load(write(tmp_path, MODELS["plain"], [("a", "double"), ("b", "string"), ("c", "double")], None))
    assert caught.value.reason is FailureReason.MODEL_UNSUPPORTED


def test_an_example_that_lacks_a_fitted_column(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="its input example lacks 'b'") as caught:
        load(write(tmp_path, MODELS["plain"], None, FRAME[["a", "c"]][:2].to_dict("split")))
    assert caught.value.reason is FailureReason.SELF_TEST_FAILED


UNNAMED = LinearRegression().fit(FRAME.values, TARGET)
ROWS = ((1.0, 2.0, 3.0),)


@pytest.mark.parametrize(
    ("estimator", "declared", "example", "expected"),
    [
        (UNNAMED, None, None, Columns(3, None, None, None)),
        (UNNAMED, None, Example(None, ROWS), Columns(3, None, None, ROWS)),
        (UNNAMED, Inputs(3, None), Example(("c", "a", "b"), ROWS), Columns(3, None, None, ROWS)),
        (UNNAMED, Inputs(3, ("c", "a", "b")), None, Columns(3, ("c", "a", "b"), None, None)),
        # without names of the estimator the signature's count, and the example follows them
        (
            UNNAMED,
            Inputs(3, ("c", "a", "b")),
            Example(("a", "b", "c"), ROWS),
            Columns(3, ("c", "a", "b"), None, ((3.0, 1.0, 2.0),)),
        ),
        (MODELS["plain"], Inputs(3, None), Example(None, ROWS), Columns(3, ("a", "b", "c"), None, ROWS)),
    ],
)
def test_whose_names_count(estimator: Any, declared: Any, example: Any, expected: Columns) -> None:
    assert agree(estimator, declared, example) == expected


class Claims:
    """An estimator that says anything of itself."""

    def __init__(self, **claims: Any) -> None:
        vars(self).update(claims)


def test_a_name_that_is_there_twice_says_nothing() -> None:
    twice = Claims(n_features_in_=3, feature_names_in_=["x", "x", "y"])
    assert agree(twice, None, Example(("x", "y", "z"), ROWS)) == Columns(3, None, None, ROWS)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"n_features_in_": 10**6}, FailureReason.MODEL_UNSUPPORTED),
        ({"n_features_in_": MOST_COLUMNS + 1}, FailureReason.MODEL_UNSUPPORTED),
        ({"n_features_in_": 0}, FailureReason.MODEL_CORRUPT),
        ({"n_features_in_": -1}, FailureReason.MODEL_CORRUPT),
        ({"n_features_in_": 2, "feature_names_in_": ["a"]}, FailureReason.MODEL_CORRUPT),
        ({"n_features_in_": 2, "feature_names_in_": [1, 2]}, FailureReason.MODEL_CORRUPT),
        ({}, FailureReason.MODEL_UNSUPPORTED),
    ],
)
def test_what_an_estimator_claims(claims: Any, reason: FailureReason) -> None:
    with pytest.raises(LoadError) as caught:
        agree(Claims(**claims), None, None)
    assert caught.value.reason is reason
