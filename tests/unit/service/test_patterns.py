"""Nobody is told a regular expression."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead_service import patterns
from fairlead_service.access.keys import Key, parse
from fairlead_service.app import create_app
from fairlead_service.following import StaleError
from fairlead_service.schemas_registry import AliasMove, ModelChange, VersionChange
from fairlead_service.schemas_train import TrainOptions
from fairlead_service.settings import Settings
from tests.unit.service.support import X, api_settings, running


def found_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from found_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from found_in(value)


def test_every_form_has_words(tmp_path: Path) -> None:
    models = (Settings, Key, TrainOptions, AliasMove, ModelChange, VersionChange)
    schemas = [create_app(api_settings(tmp_path)).openapi(), *(model.model_json_schema() for model in models)]
    used = {pattern for schema in schemas for pattern in found_in(schema)}
    assert len(used) >= 7
    for pattern in used:
        found = patterns.message({"type": "string_pattern_mismatch", "msg": "", "ctx": {"pattern": pattern}})
        assert found.startswith("must "), pattern


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("GET", "/models/a:b", None, "name: must have no '/', no ':'"),
        ("PUT", "/models/a/aliases/the best", {"version": "1"}, "alias: must have nothing but letters A to Z"),
        ("PATCH", "/models/a/versions/0", {}, "version: must be a whole number from 1 on"),
        ("PATCH", "/models/a/versions/1", {"tags": {"fairlead.ml.fraud": "Serving"}}, "are written by the server"),
        ("PATCH", "/models/a/versions/1", {"tags": {"mlflow.user": None}}, "are written by the server"),
        ("PATCH", "/models/a/versions/1", {"tags": {"semantic_version": "1.0.0"}}, "is a field of its own, not a tag"),
        ("GET", "/runs?run_id=x", None, "run_id.0: must be 32 hexadecimal digits"),
        ("GET", "/train/jobs/x", None, "job_id: must be 32 hexadecimal digits"),
        ("POST", f"/model/load/{'a' * 32}?model_uri=s3://b", None, "model_uri: must begin with runs:/ or models:/"),
        ("POST", "/train", {"model_name": "a/b"}, "model_name: must have no '/', no ':'"),
        ("POST", "/train", {"model_name": "a", "semantic_version": "1"}, "semantic_version: must be MAJOR.MINOR.PATCH"),
    ],
)
async def test_what_is_wrong_is_said_in_words(tmp_path: Path, method: str, path: str, body: Any, says: str) -> None:
    if path == "/train":
        body = {"algorithm": "random_forest", "data": X.tolist(), "target": [0, 0, 1, 1]} | body
    async with running(api_settings(tmp_path)) as (client, _):
        answer = await client.request(method, path, json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert "^" not in answer.text


def test_so_it_is_in_the_file_of_keys() -> None:
    with pytest.raises(StaleError, match="at 0/sha256: must be 64 hexadecimal digits"):
        parse(b'[{"name": "a", "sha256": "x", "roles": ["admin"]}]')
