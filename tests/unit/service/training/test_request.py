import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead_service.contract import TrainingReason
from fairlead_service.training import request
from fairlead_service.training.errors import TrainingError

WHOLE: dict[str, Any] = {"target": [0, 1], "algorithm": "random_forest"}


def left(directory: Path, document: Any, data: Any = ((1.0, 2.0), (3.0, 4.0))) -> Path:
    (directory / request.REQUEST_FILE).write_text(document if isinstance(document, str) else json.dumps(document))
    np.save(directory / request.DATA_FILE, np.asarray(data))
    return directory


def test_defaults(tmp_path: Path) -> None:
    found, x = request.read(left(tmp_path, WHOLE))
    assert (found.test_size, found.random_state, found.experiment) == (0.25, 42, "fairlead")
    assert x.dtype == np.float64
    assert x.shape == (2, 2)


@pytest.mark.parametrize("target", [[True, False], [1, 2], [1.0, 2.0], ["1", "2"], [1, "1"]])
def test_labels_keep_their_json_type(tmp_path: Path, target: list[Any]) -> None:
    found, _ = request.read(left(tmp_path, WHOLE | {"target": target}))
    assert list(map(type, found.target)) == list(map(type, target))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"target": [[1], 2]}, "/target/0"),
        ({"algorithm": 3}, "/algorithm"),
        ({"test_size": 1.0}, "/test_size"),
        ({"random_state": -1}, "/random_state"),
        ({"model_name": "a/b"}, "/model_name"),
        ({"model_name": "m", "alias": "a b"}, "/alias"),
        ({"alias": "champion"}, "/alias"),
        ({"model_name": "m", "alias": "v3"}, "/alias"),
        ({"tags": {"a": 1}}, "/tags/a"),
        ({"other": 1}, "/other"),
    ],
)
def test_bad_requests(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    with pytest.raises(TrainingError) as caught:
        request.read(left(tmp_path, WHOLE | change))
    assert (caught.value.reason, caught.value.where) == (TrainingReason.INVALID_REQUEST, where)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="request"):
        request.read(tmp_path)
    left(tmp_path, WHOLE)
    (tmp_path / request.DATA_FILE).write_bytes(b"")
    with pytest.raises(TrainingError) as caught:
        request.read(tmp_path)
    assert caught.value.where == "/data"


def test_pickled_data_are_not_read(tmp_path: Path) -> None:
    left(tmp_path, WHOLE)
    np.save(tmp_path / request.DATA_FILE, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(TrainingError, match="pickle"):
        request.read(tmp_path)
