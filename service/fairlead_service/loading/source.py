"""Finding a model in MLflow and fetching its files.

Resolution ends at immutable things: a run, a logged model, an artifact directory. Models of MLflow 3 are objects of
their own; those of MLflow 2 are directories below their run's artifacts.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError, corrupt, not_found, refused
from fairlead_service.loading import client
from fairlead_service.loading import reference as refs
from fairlead_service.loading.mlmodel import file_name
from fairlead_service.tracking import TrackingClient, TrackingServer

DEFAULT_NAME: Final = "model"
_PROXIED: Final = "mlflow-artifacts:/"


@dataclass(frozen=True)
class ResolvedModel:
    uri: str
    """An immutable reference to this very model."""
    run_id: str | None
    """None for a model that was logged outside a run."""
    model_id: str | None
    artifact_uri: str
    """The directory that holds MLmodel."""
    name: str | None = None
    version: str | None = None

    @property
    def identity(self) -> str | None:
        """What the model goes by: its run, or the logged model itself (`m-…`) outside a run."""
        return self.run_id or self.model_id


@dataclass(frozen=True)
class Listing:
    """What is in one directory of a store, not below it."""

    files: Mapping[str, int | None]
    """Name → bytes; None where the store does not say."""
    directories: frozenset[str] = frozenset()


class Artifacts(Protocol):
    """The files of one directory: a model's own, or one in it."""

    def listing(self) -> Listing: ...

    def below(self, name: str) -> "Artifacts":
        """The files of a directory in this one."""

    def download(self, name: str, path: Path, limit: int) -> None:
        """Writes one file to `path`; LoadError(ModelRefused) beyond `limit` bytes."""


class Source(Protocol):
    def resolve(self, reference: refs.Reference) -> ResolvedModel:
        """Raises LoadError: ModelNotFound, TrackingServerUnavailable."""

    def artifacts(self, model: ResolvedModel) -> Artifacts: ...


class MlflowSource:
    """Models in an MLflow tracking server."""

    def __init__(self, client: TrackingClient) -> None:
        self._client = client

    def resolve(self, reference: refs.Reference) -> ResolvedModel:
        match reference:
            case refs.RunModel(run_id, path):
                return self._in_run(run_id, path, refs.written(reference))
            case refs.LoggedModel(model_id):
                return self._resolved(self._logged(model_id))
            case refs.ModelVersion(name, version):
                answer = self._client.get("mlflow/model-versions/get", name=name, version=version)
            case refs.ModelAlias(name, alias):
                answer = self._client.get("mlflow/registered-models/alias", name=name, alias=alias)
        return self._registered(answer["model_version"])

    def artifacts(self, model: ResolvedModel) -> Artifacts:
        root = model.artifact_uri
        if root.startswith(_PROXIED) and not root.startswith(_PROXIED + "/"):
            return ProxiedArtifacts(self._client, root.removeprefix(_PROXIED).strip("/"))
        return ClientArtifacts(root, self._client.server)

    def _registered(self, version: Mapping[str, Any]) -> ResolvedModel:
        name, number, origin = version["name"], str(version["version"]), str(version.get("source", ""))
        model_id = version.get("model_id") or (
            origin.removeprefix("models:/") if origin.startswith("models:/m-") else None
        )
        if model_id:
            found = self._resolved(self._logged(model_id))
        else:
            run_id = version.get("run_id") or None
            found = ResolvedModel(f"models:/{name}/{number}", run_id, None, artifact_uri=origin)
        return replace(found, name=name, version=number)

    def _in_run(self, run_id: str, path: str | None, uri: str) -> ResolvedModel:
        run = self._client.get("mlflow/runs/get", run_id=run_id)["run"]
        if run["info"].get("lifecycle_stage") == "deleted":
            raise not_found(f"run {run_id} is deleted; restore it with `mlflow runs restore`")
        outputs = run.get("outputs", {}).get("model_outputs", [])
        logged = [self._logged(output["model_id"]) for output in outputs]
        by_name = {str(model["name"]): model for model in logged}  # of one name, the last logged
        directories = [] if path is None and by_name else _logged_by_mlflow_2(run)
        chosen = path or _choose(run_id, sorted({*by_name, *directories}))
        if chosen in by_name:
            return replace(self._resolved(by_name[chosen]), uri=uri)
        found = ResolvedModel(uri, run_id, None, f"{run['info']['artifact_uri'].rstrip('/')}/{chosen}")
        if "MLmodel" not in self.artifacts(found).listing().files:
            has = f"its models: {', '.join(sorted(by_name))}" if by_name else "it has none"
            raise not_found(
                f"run {run_id} has no model named {chosen!r} ({has}); log one with mlflow.sklearn.log_model"
            )
        return found

    def _logged(self, model_id: str) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._client.get(f"mlflow/logged-models/{quote(model_id, safe='')}")["model"]["info"]
        return info

    def _resolved(self, info: Mapping[str, Any]) -> ResolvedModel:
        model_id, status = info["model_id"], info.get("status", "LOGGED_MODEL_READY")
        if status == "LOGGED_MODEL_UPLOAD_FAILED":
            raise corrupt(f"the upload of model {model_id} failed; log it again")
        if status != "LOGGED_MODEL_READY":
            raise LoadError(FailureReason.LOAD_FAILED, f"model {model_id} is not ready yet ({status})")
        return ResolvedModel(f"models:/{model_id}", info.get("source_run_id") or None, model_id, info["artifact_uri"])


class ProxiedArtifacts:
    """Files that the tracking server itself hands out (`mlflow-artifacts:`)."""

    def __init__(self, client: TrackingClient, root: str) -> None:
        self._client = client
        self._root = root

    def listing(self) -> Listing:
        found = self._client.get("mlflow-artifacts/artifacts", path=self._root).get("files", [])
        return Listing(
            {file_name(file["path"]): file.get("file_size") for file in found if not file.get("is_dir")},
            frozenset(file_name(file["path"]) for file in found if file.get("is_dir")),
        )

    def below(self, name: str) -> "ProxiedArtifacts":
        return ProxiedArtifacts(self._client, f"{self._root}/{file_name(name)}")

    def download(self, name: str, path: Path, limit: int) -> None:
        target = quote(f"{self._root}/{file_name(name)}")
        self._client.stream(f"mlflow-artifacts/artifacts/{target}", _into(path, limit))


class ClientArtifacts:
    """Files in a store of their own (s3, gs, a shared disk), through MLflow's client and that store's library."""

    def __init__(self, root: str, server: TrackingServer) -> None:
        self._root = root.rstrip("/")
        self._server = server

    def listing(self) -> Listing:
        client.prepare(self._server)
        import mlflow

        with _client_errors(self._root):
            found = mlflow.artifacts.list_artifacts(artifact_uri=self._root)
        return Listing(
            {file_name(Path(file.path).name): file.file_size for file in found if not file.is_dir},
            frozenset(file_name(Path(file.path).name) for file in found if file.is_dir),
        )

    def below(self, name: str) -> "ClientArtifacts":
        return ClientArtifacts(f"{self._root}/{file_name(name)}", self._server)

    def download(self, name: str, path: Path, limit: int) -> None:
        client.prepare(self._server)
        import mlflow

        with _client_errors(self._root):
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{self._root}/{file_name(name)}", dst_path=str(path.parent)
            )
        if Path(found).stat().st_size > limit:
            raise refused(f"file {name} of the model is larger than the {limit} bytes allowed")
        Path(found).replace(path)


def _into(path: Path, limit: int) -> Callable[[Iterator[bytes]], None]:
    def receive(chunks: Iterator[bytes]) -> None:
        size = 0
        with path.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise refused(f"file {path.name} of the model is larger than the {limit} bytes allowed")
                file.write(chunk)

    return receive


@contextmanager
def _client_errors(root: str) -> Iterator[None]:
    """MLflow's client and the stores' libraries raise anything; none of it says that the model is bad."""
    try:
        yield
    except LoadError:
        raise
    except Exception as error:
        message = f"the model's files in {root} cannot be read: {type(error).__name__}: {error}"
        raise LoadError(FailureReason.LOAD_FAILED, message) from error


def _logged_by_mlflow_2(run: Mapping[str, Any]) -> list[str]:
    """Artifact paths of the models that MLflow 2 logged to this run."""
    tags = {tag["key"]: tag["value"] for tag in run.get("data", {}).get("tags", [])}
    try:
        return [str(entry["artifact_path"]) for entry in json.loads(tags.get("mlflow.log-model.history", "[]"))]
    except (ValueError, KeyError, TypeError):
        return []


def _choose(run_id: str, names: list[str]) -> str:
    """The model meant by a run alone."""
    if len(names) == 1:
        return names[0]
    if not names or DEFAULT_NAME in names:
        return DEFAULT_NAME
    raise not_found(f"run {run_id} has several models ({', '.join(names)}); say which: runs:/{run_id}/{names[0]}")
