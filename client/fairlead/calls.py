"""Every request that the client can make, as a value: method, path, body, and what its answer is. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from fairlead import results
from fairlead.results import read
from fairlead.rows import Rows, encode, features, matrix, values

T = TypeVar("T")
Parameters = Mapping[str, str | int | list[str]]

ANSWER_SECONDS: Final = 30.0
LONG_SECONDS: Final = 3600.0
"""For what the server itself bounds: trainings and loads."""
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Upload:
    """A file beside the JSON of a training."""

    path: Path
    request: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    method: str
    path: str
    parse: Callable[[Any], T]
    parameters: Parameters = field(default_factory=dict)
    body: bytes | None = None
    upload: Upload | None = None
    seconds: float = ANSWER_SECONDS
    repeatable: bool = True
    """Whether doing it twice is the same as doing it once."""


def _of(kind: type[T]) -> Callable[[Any], T]:
    return lambda found: read(kind, found)


def predict(rows: Rows, probabilities: bool, scores: bool) -> Call[results.Prediction]:
    body = {"features": features(rows), "probabilities": probabilities, "scores": scores}
    return Call("POST", "/predict", _of(results.Prediction), body=encode(body))


def train(
    data: Rows | None,
    target: Any,
    file: str | PathLike[str] | None,
    algorithm: str,
    hyperparameters: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Call[results.Training]:
    """Data inline, or a file, or neither with `data_uri` among the options. TypeError for more than one of them."""
    given = [
        name
        for name, value in (("data", data), ("file", file), ("data_uri", options.get("data_uri")))
        if value is not None
    ]
    if len(given) != 1:
        raise TypeError(f"give exactly one of data, file and data_uri, not {' and '.join(given) or 'none of them'}")
    if (data is None) != (target is None):
        raise TypeError("data and target belong together; of a file or data_uri, target_column names the target")
    fields = {name: value for name, value in options.items() if value is not None} | {"algorithm": algorithm}
    if hyperparameters:
        fields["hyperparameters"] = dict(hyperparameters)
    call = Call("POST", "/train", _of(results.Training), seconds=LONG_SECONDS, repeatable=False)
    if file is not None:
        return replace(call, upload=Upload(Path(file), encode(fields)))
    if data is not None:
        rows, names = matrix(data)
        fields |= {"data": rows, "target": values(target)}
        if names is not None:
            fields.setdefault("feature_names", names)
    return replace(call, body=encode(fields))


def begun(training: Call[results.Training]) -> Call[results.TrainingJob]:
    """The same, without waiting for its end."""
    return Call(
        "POST",
        "/train",
        _of(results.TrainingJob),
        {"wait": "false"},
        training.body,
        training.upload,
        training.seconds if training.upload else ANSWER_SECONDS,
        repeatable=False,
    )


def jobs(state: str | None, limit: int) -> Call[results.TrainingJobs]:
    return Call("GET", "/train/jobs", _of(results.TrainingJobs), _given(state=state, limit=limit))


def job(job_id: str) -> Call[results.TrainingJob]:
    return Call("GET", f"/train/jobs/{_part(job_id)}", _of(results.TrainingJob))


def cancel(job_id: str) -> Call[results.TrainingJob]:
    """Not repeatable: the second time the job has ended, which is a 409."""
    return Call("DELETE", f"/train/jobs/{_part(job_id)}", _of(results.TrainingJob), repeatable=False)


def load(run_id: str, model_uri: str | None) -> Call[results.LoadedModel]:
    path = f"/model/load/{_part(run_id)}"
    return Call("POST", path, _of(results.LoadedModel), _given(model_uri=model_uri), seconds=LONG_SECONDS)


def model_info() -> Call[results.ModelInfo]:
    return Call("GET", "/model/info", _of(results.ModelInfo))


def health() -> Call[results.Health]:
    return Call("GET", "/health", _of(results.Health))


def metrics_summary() -> Call[results.MetricsSummary]:
    return Call("GET", "/metrics/summary", _of(results.MetricsSummary))


def algorithms() -> Call[results.Algorithms]:
    """The server's first answer takes it some seconds: a child process imports scikit-learn."""
    return Call("GET", "/algorithms", _of(results.Algorithms), seconds=90.0)


def models(limit: int, page_token: str | None) -> Call[results.RegisteredModels]:
    return Call("GET", "/models", _of(results.RegisteredModels), _given(limit=limit, page_token=page_token))


def model(name: str) -> Call[results.ModelDetails]:
    return Call("GET", f"/models/{_part(name)}", _of(results.ModelDetails))


def runs(
    run_ids: Sequence[str],
    experiment: str | None,
    filter: str | None,
    order_by: str | None,
    limit: int,
    page: str | None,
) -> Call[results.Runs]:
    asked: dict[str, Any] = {"run_id": list(run_ids)} if run_ids else {}
    asked |= _given(experiment=experiment, filter=filter, order_by=order_by, limit=limit, page_token=page)
    return Call("GET", "/runs", _of(results.Runs), asked)


def move_alias(
    name: str, alias: str, version: str | int | None, semantic_version: str | None
) -> Call[results.ModelDetails]:
    """TypeError unless it is to one of both."""
    if (version is None) == (semantic_version is None):
        raise TypeError("give exactly one of version and semantic_version")
    to = {"version": str(version)} if version is not None else {"semantic_version": semantic_version}
    path = f"/models/{_part(name)}/aliases/{_part(alias)}"
    return Call("PUT", path, _of(results.ModelDetails), body=json.dumps(to).encode())


def _given(**parameters: str | int | None) -> dict[str, str | int | list[str]]:
    return {name: value for name, value in parameters.items() if value is not None}


def _part(text: str) -> str:
    """One part of a path, whatever is in it."""
    return quote(text, safe="")
