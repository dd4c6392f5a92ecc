import json
from pathlib import Path
from typing import Any

import pytest

from fairlead_service.contract import TrainingReason
from fairlead_service.training import request
from fairlead_service.training.errors import TrainingError

WHOLE: dict[str, Any] = {"target": [0, 1], "algorithm": "random_forest"}


def left(directory: Path, document: Any) -> Path:
    (directory / request.REQUEST_FILE).write_text(document if isinstance(document, str) else json.dumps(document))
    return directory


def test_defaults(tmp_path: Path) -> None:
    found = request.read(left(tmp_path, WHOLE))
    assert (found.test_size, found.random_state, found.experiment) == (0.25, 42, "fairlead")


@pytest.mark.parametrize("target", [[True, False], [1, 2], [1.0, 2.0], ["1", "2"], [1, "1"]])
def test_labels_keep_their_json_type(tmp_path: Path, target: list[Any]) -> None:
    found = request.read(left(tmp_path, WHOLE | {"target": target}))
    assert list(map(type, found.target or ())) == list(map(type, target))


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
        ({"semantic_version": "1.0.0"}, "/semantic_version"),
        ({"description": "good"}, "/description"),
        ({"cross_validation": 1}, "/cross_validation"),
        ({"search": {"method": "grid", "parameters": {}}}, "/search/parameters"),
    ],
)
def test_bad_requests(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    with pytest.raises(TrainingError) as caught:
        request.read(left(tmp_path, WHOLE | change))
    assert (caught.value.reason, caught.value.where) == (TrainingReason.INVALID_REQUEST, where)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="request"):
        request.read(tmp_path)
