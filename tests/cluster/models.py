"""Runs in the cluster's MLflow: good ones are trained through the API, bad ones are made by damaging a good one."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from fairlead import Client
from tests.cluster import bad_models
from tools.cluster import Cluster
from tools.up import NAMESPACE

Data = tuple[list[list[float]], list[str], list[str]]
Fit = Callable[[list[list[float]], list[str]], Any]


@dataclass(frozen=True)
class Models:
    """Makes runs. Each kind is trained or logged once for all workers of a test run.

    Every call forwards its own port: pods are replaced between the tests.
    """

    cluster: Cluster
    data: Data
    shared: Path
    """A directory that all workers have in common."""

    def train(self, algorithm: str = "random_forest", **more: Any) -> Any:
        rows, labels, names = self.data
        with self.cluster.port_forward(NAMESPACE, "service/fairlead-api") as url, Client(url) as api:
            options = {"target": labels, "feature_names": names, "load": False, "plots": False, **more}
            return asdict(api.train(rows, algorithm=algorithm, **options))

    @contextmanager
    def tracking(self) -> Iterator[str]:
        """Points MLflow's client at the cluster's MLflow; yields its URL."""
        import mlflow

        with self.cluster.port_forward(NAMESPACE, "service/fairlead-mlflow", 5000) as url:
            mlflow.set_tracking_uri(url)
            yield url

    @contextmanager
    def registry(self) -> Iterator[httpx.Client]:
        """A client of MLflow's REST API, without the seconds that importing MLflow takes."""
        with self.cluster.port_forward(NAMESPACE, "service/fairlead-mlflow", 5000) as url:
            yield httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=30)

    def version(self, name: str, **more: Any) -> str:
        """Trains and registers a version of a model; returns its run."""
        return str(self.train("logistic_regression", model_name=name, **more)["run_id"])

    def move_alias(self, name: str, alias: str, version: str) -> None:
        body = {"name": name, "alias": alias, "version": version}
        with self.registry() as api:
            api.post("registered-models/alias", json=body).raise_for_status()

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Tags of a model version."""
        with self.registry() as api:
            answer = api.get("model-versions/get", params={"name": name, "version": version}).raise_for_status()
        return {tag["key"]: tag["value"] for tag in answer.json()["model_version"].get("tags", [])}

    @property
    def good(self) -> str:
        return self._once("good", lambda: str(self.train("logistic_regression")["run_id"]))

    @property
    def better(self) -> str:
        forest = {"n_estimators": 20}
        return self._once("better", lambda: str(self.train("random_forest", hyperparameters=forest)["run_id"]))

    def logged(self, fit: Fit, copy: str = "") -> str:
        """A run with a model that `fit` makes, pickled, with an input example; another `copy` is another run."""
        with self.tracking():
            return self._once(f"{fit.__name__}{copy}", lambda: self._logged("cloudpickle", fit)[0])

    def missing(self) -> str:
        return "0123456789abcdef" * 2

    def without_model(self) -> str:
        import mlflow

        with self.tracking(), mlflow.start_run() as run:
            mlflow.log_param("model", "none")
        return str(run.info.run_id)

    def pickled(self) -> str:
        return self.logged(bad_models.plain)

    def truncated(self) -> str:
        with self.tracking() as url:
            return self._once("truncated", lambda: self._truncated(url))

    def _truncated(self, url: str) -> str:
        run_id, artifacts = self._logged()
        model = f"{url}{artifacts}/model.skops"
        content = httpx.get(model).raise_for_status().content
        httpx.put(model, content=content[: len(content) // 2]).raise_for_status()
        return run_id

    def of_another_version(self) -> str:
        with self.tracking() as url:
            run_id, artifacts = self._logged()
            described = yaml.safe_load(httpx.get(f"{url}{artifacts}/MLmodel").raise_for_status().content)
            described["flavors"]["sklearn"]["sklearn_version"] = "0.24.2"
            httpx.put(f"{url}{artifacts}/MLmodel", content=yaml.safe_dump(described)).raise_for_status()
            httpx.put(f"{url}{artifacts}/requirements.txt", content="scikit-learn==0.24.2\n").raise_for_status()
        return run_id

    def _once(self, kind: str, make: Callable[[], str]) -> str:
        """The run of a kind: made by the worker that asks first, while the others wait for it."""
        path = self.shared / f"run-{kind}"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(make())
        return path.read_text()

    def _logged(self, serialization: str = "skops", fit: Fit = bad_models.plain) -> tuple[str, str]:
        """Logs a small model with plain MLflow; returns its run and the path of its artifacts in MLflow's API."""
        import mlflow
        from mlflow.models import infer_signature

        rows, labels, _ = self.data
        model = fit(rows, labels)
        with mlflow.start_run() as run:
            info = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(np.array(rows), model.predict(np.array(rows[:5]))),
                input_example=np.array(rows[:5]),
                serialization_format=serialization,
                pip_requirements=["scikit-learn"],
            )
        location: str = mlflow.get_logged_model(info.model_id).artifact_location
        path = location.removeprefix("mlflow-artifacts:/")
        return str(run.info.run_id), f"/api/2.0/mlflow-artifacts/artifacts/{path}"
