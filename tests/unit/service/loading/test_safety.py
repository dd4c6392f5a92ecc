"""Hostile model files."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import scipy.sparse
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import estimator as estimators
from fairlead_service.loading import safety

LIMIT = 2**24
X = np.random.default_rng(0).random((20, 2))
Y = (X[:, 0] > 0.5).astype(int)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def with_function(module: str, function: str) -> bytes:
    """A skops archive of a pipeline that calls `module.function` on its input."""
    content = skops.io.dumps(make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(X, Y))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            body = source.read(name)
            if name == "schema.json":
                assert body.count(b'"log1p"') == 1
                body = re.sub(
                    rb'"__module__": "numpy",(\s*"__loader__": "FunctionNode")',
                    rf'"__module__": "{module}",\1'.encode(),
                    body,
                )
                body = body.replace(b'"log1p"', f'"{function}"'.encode())
            target.writestr(name, body)
    return out.getvalue()


def opens(tmp_path: Path, content: bytes) -> estimators.Opened:
    file = tmp_path / "model.skops"
    file.write_bytes(content)
    return estimators.open_skops(file, LIMIT)


def refusal(tmp_path: Path, content: bytes) -> LoadError:
    with pytest.raises(LoadError) as caught:
        opens(tmp_path, content)
    return caught.value


def test_function_outside_the_list_is_refused_and_not_called(tmp_path: Path) -> None:
    error = refusal(tmp_path, with_function("os", "system"))
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "os.system" in error.message


def test_constructor_by_reduce_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    schema = {
        "__class__": "system",
        "__module__": "os",
        "__loader__": "ConstructorFromReduceNode",
        "content": {
            "__class__": "tuple",
            "__module__": "builtins",
            "__loader__": "TupleNode",
            "content": [
                {
                    "__class__": "str",
                    "__module__": "builtins",
                    "__loader__": "JsonNode",
                    "content": json.dumps(f"touch {marker}"),
                    "is_json": True,
                }
            ],
        },
    }
    error = refusal(tmp_path, archive(schema))
    assert error.reason is FailureReason.MODEL_REFUSED
    assert not marker.exists()


def test_the_list_inside_the_model_counts_for_nothing() -> None:
    with pytest.raises(LoadError, match=r"os\.system"):
        safety.check_types(("os.system",))


def test_sklearn_functions_are_not_allowed_for_being_sklearns(tmp_path: Path) -> None:
    assert refusal(tmp_path, with_function("sklearn.datasets", "fetch_openml")).reason is FailureReason.MODEL_REFUSED


def test_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(LoadError, match="allowPickle") as caught:
        estimators.open_pickle(file, "cloudpickle", allowed=False, limit=LIMIT)
    assert caught.value.reason is FailureReason.MODEL_REFUSED
    assert not marker.exists()
    pickle.loads(file.read_bytes())  # the trap does work
    assert marker.exists()


def test_pickle_named_skops_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    assert refusal(tmp_path, pickle.dumps(Trap(marker))).reason is FailureReason.MODEL_CORRUPT
    assert not marker.exists()


def test_pickled_array_inside_skops_does_not_run(tmp_path: Path) -> None:
    marker, buffer = tmp_path / "ran", io.BytesIO()
    np.save(buffer, np.array([Trap(marker)], dtype=object), allow_pickle=True)
    content = skops.io.dumps(LogisticRegression().fit(X, Y))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, buffer.getvalue() if name.endswith(".npy") else source.read(name))
    assert refusal(tmp_path, out.getvalue()).reason is FailureReason.MODEL_CORRUPT
    assert not marker.exists()


def test_allowed_pickle_becomes_skops(tmp_path: Path) -> None:
    fitted = make_pipeline(LogisticRegression()).fit(X, Y)
    file = tmp_path / "model.pkl"
    file.write_bytes(cloudpickle.dumps(fitted))
    opened = estimators.open_pickle(file, "cloudpickle", allowed=True, limit=LIMIT)
    again = skops.io.loads(opened.skops, trusted=list(opened.trusted_types))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_allowed_pickle_with_a_lambda_is_unsupported(tmp_path: Path) -> None:
    fitted = make_pipeline(FunctionTransformer(lambda x: x + 1), LogisticRegression()).fit(X, Y)
    file = tmp_path / "model.pkl"
    file.write_bytes(cloudpickle.dumps(fitted))
    with pytest.raises(LoadError, match="skops") as caught:
        estimators.open_pickle(file, "cloudpickle", allowed=True, limit=LIMIT)
    assert caught.value.reason is FailureReason.MODEL_UNSUPPORTED


def test_zip_bomb(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("schema.json", "{}")
        target.writestr("zeros.npy", b"\0" * (LIMIT + 1))
    assert len(out.getvalue()) < 2**17
    error = refusal(tmp_path, out.getvalue())
    assert error.reason is FailureReason.MODEL_REFUSED
    assert "unpacks to 16 MiB" in error.message


def test_bomb_inside_a_sparse_matrix(tmp_path: Path) -> None:
    buffer, out = io.BytesIO(), io.BytesIO()
    scipy.sparse.save_npz(buffer, scipy.sparse.csr_matrix(np.zeros((1, 1))))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("more.npy", b"\0" * (LIMIT + 1))
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("schema.json", json.dumps({"file": "1.npz"}))
        target.writestr("1.npz", buffer.getvalue())
    assert refusal(tmp_path, out.getvalue()).reason is FailureReason.MODEL_REFUSED


def test_bomb_by_naming_one_file_often(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("schema.json", json.dumps({"content": [{"file": "a.npy"}] * 20}))
        target.writestr("a.npy", b"\0" * 2**20)
    assert refusal(tmp_path, out.getvalue()).reason is FailureReason.MODEL_REFUSED


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    content = skops.io.dumps(LogisticRegression().fit(X, Y))
    assert refusal(tmp_path, content[: int(len(content) * share)]).reason is FailureReason.MODEL_CORRUPT


def test_flipped_byte(tmp_path: Path) -> None:
    content = bytearray(skops.io.dumps(LogisticRegression().fit(X, Y)))
    content[150] ^= 0xFF  # inside the first array
    assert refusal(tmp_path, bytes(content)).reason is FailureReason.MODEL_CORRUPT


def test_endless_nesting(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive_text("[" * 200_000 + "]" * 200_000)).reason is FailureReason.MODEL_CORRUPT


def archive(schema: dict[str, Any]) -> bytes:
    import skops.io._protocol as protocol

    return archive_text(json.dumps(schema | {"protocol": protocol.PROTOCOL, "_skops_version": skops.__version__}))


def archive_text(schema: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("schema.json", schema)
    return out.getvalue()
