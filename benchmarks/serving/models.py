"""The models of the benchmark, trained once: as MLflow saves them, as joblib does for the peers, and as our bundle."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.paths import CACHE

NAMES: Final = ("rf", "lr", "rfh", "svc")
TITLES: Final = {
    "rf": "RandomForestClassifier(100, max_depth=10), iris, 4 features",
    "lr": "LogisticRegression, iris, 4 features",
    "rfh": "RandomForestClassifier(100), breast cancer, 30 features",
    "svc": "SVC, iris, 4 features",
}
ROWS: Final = 1024
RUN_ID: Final = "0123456789abcdef0123456789abcdef"

Rows = list[list[float]]


@dataclass(frozen=True)
class SavedModel:
    name: str
    directory: Path
    rows: Rows
    """1024 rows of the data set, drawn at random."""
    labels: list[int]
    """What scikit-learn itself answers to them, in this very process's version."""

    @property
    def joblib(self) -> Path:
        return self.directory / "model.joblib"

    @property
    def mlflow(self) -> Path:
        return self.directory / "mlflow"

    @property
    def bundle(self) -> Path:
        return self.directory / "bundle"


def saved(name: str) -> SavedModel:
    """A trained model from the cache, or trained now, with a bundle of today's loader."""
    parts = (version("scikit-learn"), version("skops"), version("mlflow-skinny"))
    directory = CACHE / "-".join(("models", *parts)) / name
    if not (directory / "rows.json").exists():
        print(f"model {name}: training", flush=True)
        _train(name, directory)
    content = json.loads((directory / "rows.json").read_text())
    model = SavedModel(name, directory, content["rows"], content["labels"])
    write_bundle(model)
    return model


def backend(model: SavedModel) -> str:
    """What serves it in our server: `native`, or `sklearn`."""
    return str(json.loads((model.bundle / "manifest.json").read_text())["backend"])


def write_bundle(model: SavedModel) -> None:
    """Through the real loader, which so decides by itself whether the model is compiled. Each time: it may change."""
    from fairlead_service.loading import loader
    from fairlead_service.loading.reference import Reference
    from fairlead_service.loading.source import Artifacts, Listing, ResolvedModel

    @dataclass(frozen=True)
    class Directory:
        """The loader's source: a model that lies in a directory instead of in MLflow."""

        path: Path

        def resolve(self, reference: Reference, uri: str) -> ResolvedModel:
            return ResolvedModel(uri, RUN_ID, None, str(self.path))

        def artifacts(self, model: ResolvedModel) -> Artifacts:
            return self

        def listing(self) -> Listing:
            entries = list(self.path.iterdir())
            files = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            return Listing(files, frozenset(entry.name for entry in entries if entry.is_dir()))

        def below(self, name: str) -> Artifacts:
            return Directory(self.path / name)

        def download(self, name: str, path: Path, limit: int) -> None:
            shutil.copyfile(self.path / name, path)

    loader.load(f"runs:/{RUN_ID}/model", model.bundle, Directory(model.mlflow), loader.LoadOptions(), lambda *_: None)


def _train(name: str, directory: Path) -> None:
    import joblib
    import mlflow.sklearn
    import numpy as np
    from mlflow.models import infer_signature

    from fairlead_service.loading.safety import ALLOWED_TYPES

    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    x, y = _data(name)
    model = _estimator(name).fit(x, y)
    rows = x[np.random.default_rng(0).integers(0, len(x), ROWS)]
    joblib.dump(model, directory / "model.joblib")
    mlflow.sklearn.save_model(
        model,
        directory / "mlflow",
        serialization_format="skops",
        skops_trusted_types=sorted(ALLOWED_TYPES),
        signature=infer_signature(x[:5], model.predict(x[:5])),
        input_example=x[:5],
        pip_requirements=[f"scikit-learn=={version('scikit-learn')}", f"skops=={version('skops')}"],
    )
    answers = {"rows": rows.tolist(), "labels": model.predict(rows).tolist()}
    (directory / "rows.json").write_text(json.dumps(answers))  # last: it says that the rest is whole


def _data(name: str) -> Any:
    from sklearn.datasets import load_breast_cancer, load_iris

    return (load_breast_cancer if name == "rfh" else load_iris)(return_X_y=True)


def _estimator(name: str) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    return {
        "rf": RandomForestClassifier(100, max_depth=10, random_state=0),
        "lr": LogisticRegression(max_iter=1000),
        "rfh": RandomForestClassifier(100, random_state=0),
        "svc": SVC(),
    }[name]
