"""The pure core of the Python client: rows, retries, answers; and that both clients are the same."""

import inspect
import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import ApiError, AsyncClient, AsyncJob, Client, Job, Prediction, Retries, TrainingJob, calls
from fairlead.errors import from_answer, retry_after
from fairlead.results import read
from fairlead.retries import Lost, wait_for
from fairlead.rows import encode, features, matrix
from fairlead.transport import Settings
from fairlead_service import schemas, schemas_registry, schemas_train

FRAME = pd.DataFrame({"a": [1.5, np.nan], "b": [True, False], "c": pd.array([1, None], dtype="Int64")})


@pytest.mark.parametrize(
    ("rows", "sent"),
    [
        ([[1, 2.5], [3, None]], [[1, 2.5], [3, None]]),
        ([1, 2], [1, 2]),
        (((1, 2), (3, 4)), [[1, 2], [3, 4]]),
        ({"a": 1}, [{"a": 1}]),
        ([{"a": np.float32(1.5)}], [{"a": 1.5}]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ([np.array([1.0, math.nan])], [[1.0, None]]),
        (np.array([[math.nan]]), [[None]]),
        (pd.Series([1.0, 2.0]), [1.0, 2.0]),
        (FRAME, [{"a": 1.5, "b": True, "c": 1}, {"a": None, "b": False, "c": None}]),
        (pd.DataFrame([[1, 2]]), [[1, 2]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_as_people_have_them(rows: Any, sent: Any) -> None:
    assert json.loads(encode({"features": features(rows)}))["features"] == sent


def test_what_is_no_rows_is_refused_with_what_to_send() -> None:
    for rows in ("1,2", 5, None):
        with pytest.raises(TypeError, match="rows must be"):
            features(rows)
    with pytest.raises(ValueError, match=r"/features/0/1 is infinite"):
        encode({"features": [[1.0, math.inf]]})
    with pytest.raises(TypeError, match="datetime"):
        encode({"features": [[datetime.now(UTC)]]})


def test_training_data_carry_their_names() -> None:
    assert matrix(pd.DataFrame({"a": [1], "b": [2]})) == ([[1, 2]], ["a", "b"])
    assert matrix([{"a": 1, "b": 2}, {"b": 4, "a": 3}]) == ([[1, 2], [3, 4]], ["a", "b"])
    assert matrix([[1, 2]]) == ([[1, 2]], None)
    with pytest.raises(ValueError, match="row 1 must have the features of row 0"):
        matrix([{"a": 1}, {"b": 1}])


@given(st.lists(st.lists(st.floats() | st.none() | st.integers(-(2**53), 2**53), min_size=1), min_size=1))
def test_what_is_sent_is_strict_json_and_the_same_numbers(rows: list[list[float | None]]) -> None:
    if any(value is not None and math.isinf(value) for row in rows for value in row):
        with pytest.raises(ValueError, match="infinite"):
            encode({"features": features(rows)})
        return
    back = json.loads(encode({"features": features(rows)}), parse_constant=pytest.fail)["features"]
    assert back == [[None if value is None or math.isnan(value) else value for value in row] for row in rows]


def test_a_training_has_its_data_once() -> None:
    for wrong in (
        {},
        {"data": [[1]], "target": [1], "file": "x.csv"},
        {"file": "x.csv", "options": {"data_uri": "runs:/x"}},
    ):
        given_: dict[str, Any] = {"data": None, "target": None, "file": None, "options": {}} | wrong
        with pytest.raises(TypeError, match="exactly one"):
            calls.train(algorithm="x", hyperparameters=None, **given_)
    with pytest.raises(TypeError, match="belong together"):
        calls.train([[1]], None, None, "x", None, {})


OUTCOMES = st.one_of(
    st.builds(Lost, st.booleans()),
    st.builds(
        ApiError,
        st.integers(400, 599),
        st.sampled_from([{}, {"type": "urn:fairlead:problem:no-model"}]),
        st.none() | st.floats(0, 1000),
    ),
)


@given(OUTCOMES, st.booleans(), st.integers(1, 20), st.floats(0, 1))
def test_what_may_have_been_done_is_not_done_twice(outcome: Any, repeatable: bool, attempt: int, chance: float) -> None:
    policy = Retries(attempts=10)
    seconds = wait_for(policy, attempt, outcome, repeatable, chance)
    if seconds is None:
        return
    assert attempt < policy.attempts
    assert 0 < seconds <= max(policy.most, policy.patience)
    if isinstance(outcome, Lost):
        assert repeatable or not outcome.sent
        return
    assert seconds >= (outcome.retry_after or 0.0)
    passing = outcome.status in (502, 503, 504) and outcome.kind != "no-model"
    assert outcome.status == 429 or (repeatable and passing)


@given(st.integers(1, 30), st.floats(0, 1))
def test_back_off_grows_to_a_bound_and_is_spread(attempt: int, chance: float) -> None:
    policy = Retries(first=0.5, most=8.0)
    whole = min(8.0, 0.5 * 2 ** (attempt - 1))
    assert whole / 2 <= policy.delay(attempt, None, chance) <= whole


def test_a_problem_document_is_an_exception() -> None:
    body = {
        "type": "urn:fairlead:problem:invalid-input", "title": "The request does not say what it must", "status": 422,
        "detail": "row 2 has 3 values, not 4", "instance": "urn:fairlead:request:abc",
        "errors": [{"pointer": "/features/1", "detail": "3 values"}],
    }  # fmt: skip
    error = from_answer(422, "", {"retry-after": "7"}, json.dumps(body).encode())
    assert (error.kind, error.status, error.retry_after) == ("invalid-input", 422, 7.0)
    assert error.errors[0].pointer == "/features/1"
    assert str(error) == (
        "422 The request does not say what it must: row 2 has 3 values, not 4 (/features/1: 3 values) [abc]"
    )


def test_an_answer_of_something_in_between_is_told_as_it_is() -> None:
    error = from_answer(502, "Bad Gateway", {}, b"<html>upstream</html>")
    assert str(error) == "502 Bad Gateway: <html>upstream</html>"
    assert retry_after("Wed, 21 Oct 2026 07:28:00 GMT") is None


def test_a_newer_server_may_say_more_and_another_server_is_found_out() -> None:
    answer = {"predictions": [1], "run_id": "a", "confidence": 1}
    assert read(Prediction, answer) == Prediction([1], "a")
    with pytest.raises(ValueError, match="it lacks run_id"):
        read(Prediction, {"predictions": [1]})
    with pytest.raises(ValueError, match="no Prediction"):
        read(Prediction, ["x"])


PAIRS = {
    "Prediction": schemas.PredictResponse,
    "ModelInfo": schemas.ModelInfo,
    "Health": schemas.Health,
    "MetricsSummary": schemas.MetricsSummary,
    "LoadedModel": schemas.LoadResponse,
    "Training": schemas_train.TrainResponse,
    "TrainingJob": schemas_train.TrainingJob,
    "Algorithm": schemas_train.AlgorithmInfo,
    "Algorithms": schemas_train.Algorithms,
    "ModelVersion": schemas_registry.ModelVersion,
    "RegisteredModel": schemas_registry.RegisteredModel,
    "ModelDetails": schemas_registry.ModelDetails,
    "Run": schemas_registry.Run,
    "Runs": schemas_registry.Runs,
}


@pytest.mark.parametrize("name", PAIRS)
def test_results_have_the_fields_of_the_api(name: str) -> None:
    import fairlead

    found = set(inspect.signature(getattr(fairlead, name)).parameters)
    assert found == set(PAIRS[name].model_fields)


def faces(kind: type) -> dict[str, str]:
    """Public methods and their parameters; the async job's `wait` is bounded by asyncio instead."""
    return {
        name: str(inspect.signature(method).replace(return_annotation=""))
        for name, method in vars(kind).items()
        if callable(method) and not name.startswith("_") and name != "wait"
    }


def test_both_clients_have_the_same_methods() -> None:
    assert faces(Client) == faces(AsyncClient)
    assert faces(Job) == faces(AsyncJob)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_URL", "https://fairlead.example.org/")
    monkeypatch.setenv("FAIRLEAD_API_KEY", "secret-key")
    found = Settings.of(None, None, None)
    assert (found.url, found.headers["authorization"]) == ("https://fairlead.example.org", "Bearer secret-key")
    assert Settings.of(None, "other", None).headers["authorization"] == "Bearer other"
    assert "secret-key" not in repr(Client())
    for wrong, said in ((("localhost:8000", None), "http://"), ((None, "key\n"), "line break")):
        with pytest.raises(ValueError, match=said):
            Settings.of(*wrong, None)


def test_a_job_knows_whether_it_has_ended() -> None:
    job = TrainingJob("a", "Running", "x", "request", datetime.now(UTC))
    assert not job.ended
    assert TrainingJob("a", "Cancelled", "x", "request", datetime.now(UTC)).ended
