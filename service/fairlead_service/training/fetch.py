"""Data that are in MLflow already: the file that a URI names, through the tracking server and from nowhere else.

A URI comes from a client, and this process has the server's network and credentials. So only what the tracking server
itself hands out is fetched: no http, no file, no bucket. Else a training could be made to read whatever it can reach.
"""

import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading.source import ProxiedArtifacts
from fairlead_service.tracking import TrackingClient
from fairlead_service.training.errors import TrainingError, invalid_data

_RUN: Final = re.compile(r"runs:/(?P<run>[0-9a-f]{32})(?:/(?P<path>.+))?")
_PROXIED: Final = re.compile(r"mlflow-artifacts:/(?P<path>[^/].*)")
_ODD: Final = re.compile(r"[\x00-\x1f\\%?#]")
_KINDS: Final = (".csv", ".parquet")
_SAY: Final = "send runs:/RUN_ID/PATH or mlflow-artifacts:/PATH of a .csv or .parquet file, or runs:/RUN_ID"


def fetch(uri: str, client: TrackingClient, directory: Path, limit: int) -> Path:
    """Writes the file below `directory`; returns its path, which ends with .csv or .parquet.

    `runs:/RUN_ID/PATH` and `mlflow-artifacts:/PATH` are files; `runs:/RUN_ID` is the one dataset that was logged to the
    run. Raises TrainingError(InvalidData), LoadError if MLflow does not answer.
    """
    path = _place(uri, client)
    name = posixpath.basename(path)
    if not name.endswith(_KINDS):
        raise _refused(f"{name[:100]!r} is no .csv or .parquet file; {_SAY}")
    target = directory / f"fetched{posixpath.splitext(name)[1]}"
    try:
        ProxiedArtifacts(client, posixpath.dirname(path)).download(name, target, limit)
    except LoadError as error:
        if error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE:
            raise
        raise _refused(f"{uri} can't be fetched: {error.message}") from error
    return target


def _place(uri: str, client: TrackingClient, follow: bool = True) -> str:
    """The file's path among the artifacts that the tracking server hands out."""
    if not uri.startswith(("runs:/", "mlflow-artifacts:/")):
        raise _refused(f"{uri[:200]!r} is not in MLflow's artifacts; {_SAY}")
    if _ODD.search(uri) or any(part in ("", ".", "..") for part in uri.partition(":/")[2].split("/")):
        raise _refused(f"{uri[:200]!r} is no plain path; {_SAY}")
    if found := _PROXIED.fullmatch(uri):
        return found["path"]
    found = _RUN.fullmatch(uri)
    if found is None or (found["path"] is None and not follow):
        raise _refused(f"{uri[:200]!r} names no run by its 32 hexadecimal digits; {_SAY}")
    run = _run(client, found["run"])
    if found["path"] is None:
        return _place(_only_dataset(found["run"], run), client, follow=False)
    root = str(run["info"]["artifact_uri"]).rstrip("/")
    if not _PROXIED.fullmatch(root):
        raise _refused(f"the artifacts of run {found['run']} are at {root}, which MLflow's server does not hand out")
    return f"{root.removeprefix('mlflow-artifacts:/')}/{found['path']}"


def _run(client: TrackingClient, run_id: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = client.get("mlflow/runs/get", run_id=run_id)["run"]
    except LoadError as error:
        if error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE:
            raise
        raise _refused(error.message) from error
    return found


def _only_dataset(run_id: str, run: Mapping[str, Any]) -> str:
    """Where the dataset of a run comes from, as whoever logged it said."""
    inputs = run.get("inputs", {}).get("dataset_inputs", [])
    sources = {_source(entry.get("dataset", {})) for entry in inputs}
    if len(sources) != 1:
        raise _refused(f"run {run_id} has {len(sources)} datasets; name a file: runs:/{run_id}/PATH")
    (source,) = sources
    if source is None:
        raise _refused(f"the dataset of run {run_id} does not say which file it is; name one: runs:/{run_id}/PATH")
    return source


def _source(dataset: Mapping[str, Any]) -> str | None:
    try:
        return str(json.loads(dataset["source"])["uri"])
    except (ValueError, KeyError, TypeError):
        return None


def _refused(message: str) -> TrainingError:
    return invalid_data(message, "/data_uri")
