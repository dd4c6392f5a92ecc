"""A training's data as MLflow keeps them in mind: digest, schema, size and source, without the rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from fairlead_service.training.data import TrainingData
from fairlead_service.training.recording import mlflow_errors
from fairlead_service.training.request import TrainingRequest

DIRECTORY: Final = "data"
"""Among the run's artifacts."""


@dataclass(frozen=True)
class Origin:
    """Where a training's data come from, for the record."""

    kind: Literal["request", "upload", "artifact"]
    name: str | None = None
    """Of the dataset."""
    uri: str | None = None
    """Of an artifact."""
    target: str | None = None
    """The target's column, if it has a name."""

    @classmethod
    def of(cls, request: TrainingRequest) -> "Origin":
        kind: Any = "artifact" if request.data_uri else "upload" if request.data_file else "request"
        return cls(kind, request.data_name, request.data_uri, request.target_column)


def keep(origin: Origin, path: Path, run_id: str) -> Origin:
    """Puts the file that was uploaded among the run's artifacts; the origin is that from then on."""
    import mlflow

    with mlflow_errors():
        mlflow.log_artifact(str(path), DIRECTORY)
    return replace(origin, uri=f"runs:/{run_id}/{DIRECTORY}/{path.name}")


def log(data: TrainingData, feature_names: Sequence[str] | None, origin: Origin) -> None:
    """Logs the dataset as digest, schema, size and source, without its rows."""
    import mlflow
    import mlflow.data

    with mlflow_errors():
        source, named = _source(origin), origin.name or "train"
        if feature_names is None:
            found: Any = mlflow.data.from_numpy(data.x, source=source, targets=data.y, name=named, digest=digest(data))
        else:
            import pandas

            frame = pandas.DataFrame(data.x, columns=list(feature_names))
            target = origin.target or "target"
            if target not in frame.columns:
                frame[target] = data.y
            found = mlflow.data.from_pandas(frame, source=source, targets=target, name=named, digest=digest(data))
        mlflow.log_input(found, context="training")


def digest(data: TrainingData) -> str:
    """SHA-256 of all rows and labels, cut to the 36 characters that MLflow keeps."""
    summary = hashlib.sha256(repr((data.x.shape, data.y.dtype.str)).encode())
    summary.update(data.x.tobytes())
    summary.update(data.y.tobytes())
    return summary.hexdigest()[:36]


def _source(origin: Origin) -> Any:
    """As one of MLflow's dataset sources; of those, none is a place among its own artifacts."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.dataset_source import DatasetSource

    class ArtifactDatasetSource(DatasetSource):  # type: ignore[misc]
        @staticmethod
        def _get_source_type() -> str:
            return "mlflow_artifact"

        def load(self, **options: Any) -> str:
            import mlflow

            return str(mlflow.artifacts.download_artifacts(artifact_uri=origin.uri))

        @staticmethod
        def _can_resolve(raw_source: Any) -> bool:
            return False

        @classmethod
        def _resolve(cls, raw_source: Any) -> Any:
            raise NotImplementedError

        def to_dict(self) -> dict[str, Any]:
            return {"uri": origin.uri}

        @classmethod
        def from_dict(cls, source_dict: dict[str, Any]) -> Any:
            raise NotImplementedError

    if origin.uri is not None:
        return ArtifactDatasetSource()
    said = "fairlead POST /train" + (f" ({origin.name})" if origin.name else "")
    return CodeDatasetSource(tags={"mlflow.source.type": origin.kind.upper(), "mlflow.source.name": said})
