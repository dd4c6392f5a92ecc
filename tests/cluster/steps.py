"""Steps of the cluster tests: namespaces, ModelDeployments, good and spoilt models, load, recordings."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import yaml
from mlflow.models import infer_signature

from fairlead import Client
from tests.cluster import printed, spoilt
from tools import kind as kind_cluster
from tools.cluster import LOCAL_CONTEXT, Cluster, run
from tools.up import NAMESPACE, RELEASE, RESTRICTED

Data = tuple[list[list[float]], list[str], list[str]]
Fit = Callable[[list[list[float]], list[str]], Any]
LOAD_SCRIPT = Path(__file__).with_name("load.py")
RUN_LABEL = "fairlead.dev/run-id"
OWNER_LABEL = "fairlead.dev/model-deployment"
OWNED_KINDS = "deployments,replicasets,pods,services,poddisruptionbudgets,networkpolicies"


@dataclass(frozen=True)
class Namespace:
    cluster: Cluster
    name: str

    def apply(self, manifest: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))

    def deploy(self, name: str, run_id: str, **spec: Any) -> None:
        """Applies a ModelDeployment that names a run; a field that is None is left out."""
        spec = {"model": {"runID": run_id}, "replicas": 2, "rollout": {"progressDeadlineSeconds": 120}} | spec
        spec = {key: value for key, value in spec.items() if value is not None}
        metadata = {"name": name, "namespace": self.name}
        self.apply(
            {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
        )

    def await_(self, name: str, condition: str, timeout: int = 120) -> None:
        """Waits for a condition type (`Ready`, `UpToDate=False`) or a jsonpath (`{.status…}=value`)."""
        kind = "jsonpath" if condition.startswith("{") else "condition"
        self.kubectl("wait", f"--for={kind}={condition}", f"modeldeployment/{name}", f"--timeout={timeout}s")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def get(self, name: str) -> Any:
        return self.cluster.get("modeldeployment", name, self.name)

    def condition(self, name: str, kind: str) -> Any:
        return next((found for found in self.get(name)["status"]["conditions"] if found["type"] == kind), None)

    def pods(self, name: str) -> list[Any]:
        return self.cluster.list("pods", self.name, f"{OWNER_LABEL}={name}")

    def serving_uids(self, name: str, run_id: str) -> set[str]:
        """UIDs of the pods of one run that are not being deleted."""
        return {
            pod["metadata"]["uid"]
            for pod in self.pods(name)
            if pod["metadata"]["labels"].get(RUN_LABEL) == run_id and "deletionTimestamp" not in pod["metadata"]
        }

    def events(self, name: str) -> list[Any]:
        """Events about the ModelDeployment."""
        selector = f"involvedObject.kind=ModelDeployment,involvedObject.name={name}"
        found: list[Any] = json.loads(self.kubectl("get", "events", "--field-selector", selector, "-o", "json"))[
            "items"
        ]
        return found

    @contextmanager
    def watch(self, name: str) -> Iterator["Recording"]:
        """Records every state of a ModelDeployment that the API server shows while the context lasts."""
        command = [str(self.cluster.binaries / "kubectl"), "--namespace", self.name, "get", "modeldeployment", name]
        with subprocess.Popen(
            [*command, "--watch", "--output", "json"],
            stdout=subprocess.PIPE,
            text=True,
            env=self.cluster.environment,
        ) as process:
            recording = Recording()
            reader = threading.Thread(target=recording.read, args=(process,), daemon=True)
            reader.start()
            recording.await_states(1, 30)
            try:
                yield recording
            finally:
                process.terminate()
                reader.join(10)

    @contextmanager
    def load(
        self, name: str, awaited_run: str, *bodies: str, rate: int = 150, limit_seconds: int = 120
    ) -> Iterator["Load"]:
        """Starts a pod in this namespace that sends `rate` requests a second to the model's Service, the bodies in
        turn, until the awaited run alone answers or somebody stops it."""
        image = self.cluster.get("deployment", "fairlead-api", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]
        self.apply(config_map(self.name, "load", {"load.py": LOAD_SCRIPT.read_text()}))
        url = f"http://{name}.{self.name}.svc:8000"
        arguments = ["python", "/script/load.py", url, awaited_run, str(rate), str(limit_seconds), *bodies]
        self.apply(load_pod(self.name, image["image"], arguments))
        self.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=60s")
        yield Load(self)
        self.kubectl("delete", "pod", "load", "--wait=false")


@contextmanager
def without_mlflow(cluster: Cluster) -> Iterator[None]:
    """While the context lasts; afterwards it is ready again."""
    mlflow = ("-n", NAMESPACE, "deployment/fairlead-mlflow")
    try:
        cluster.kubectl("scale", *mlflow, "--replicas=0")
        selector = "--selector=app.kubernetes.io/component=mlflow"
        cluster.kubectl("wait", "-n", NAMESPACE, "--for=delete", "pod", selector, "--timeout=60s")
        yield
    finally:
        cluster.kubectl("scale", *mlflow, "--replicas=1")
        cluster.kubectl("rollout", "status", *mlflow, "--timeout=120s")


def restart_apiserver(cluster: Cluster) -> None:
    """Ends the API server and returns when it answers again."""
    if cluster.kubectl("config", "current-context").strip() == LOCAL_CONTEXT:
        run([sys.executable, "-m", "tools.localcluster", "restart-apiserver"])
    else:
        run(["docker", "exec", f"{kind_cluster.CLUSTER}-control-plane", "pkill", "kube-apiserver"])
        cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")


@dataclass
class Recording:
    """States of one object, in the order the API server showed them."""

    states: list[Any] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def read(self, process: "subprocess.Popen[str]") -> None:
        decoder, text = json.JSONDecoder(), ""
        assert process.stdout is not None
        for line in process.stdout:
            text += line
            if line.rstrip() == "}":
                state, _ = decoder.raw_decode(text)
                with self.changed:
                    self.states.append(state)
                    self.changed.notify_all()
                text = ""

    def await_states(self, count: int, timeout: float) -> None:
        """Returns when `count` states were seen, or after `timeout` seconds."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.states) >= count, timeout)

    def assert_honest(self) -> None:
        """At every instant: a generation that exists, and UpToDate only when the run asked for is the one serving."""
        assert self.states
        for state in self.states:
            status = state.get("status", {})
            conditions = {found["type"]: found["status"] for found in status.get("conditions", [])}
            observed, generation = status.get("observedGeneration", 0), state["metadata"]["generation"]
            assert observed <= generation
            if observed == generation and conditions.get("UpToDate") == "True":
                assert status["serving"]["runID"] == state["spec"]["model"]["runID"], status
            assert not state["metadata"].get("finalizers"), "a finalizer would hang deletion"
            assert not {"Reconciling", "Stalled"} <= conditions.keys()
            assert conditions.get("Reconciling", "True") == conditions.get("Stalled", "True") == "True"

    def ready(self) -> set[str]:
        """All values that the Ready condition had."""
        return {
            found["status"]
            for state in self.states
            for found in state.get("status", {}).get("conditions", [])
            if found["type"] == "Ready"
        }


@dataclass(frozen=True)
class Release:
    """The installed chart and the values it was installed with."""

    cluster: Cluster
    values: Path

    @classmethod
    def of(cls, cluster: Cluster, scratch: Path) -> "Release":
        values = scratch / "values.yaml"
        values.write_text(cluster.helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "yaml"))
        return cls(cluster, values)

    def upgrade(self, *changes: str) -> None:
        """`helm upgrade` with the first values and `changes` (`key=value`) on top of them; waits until all is ready."""
        settings = [part for change in changes for part in ("--set", change)]
        self.cluster.helm(
            "upgrade", RELEASE, "charts/fairlead", "-n", NAMESPACE, "--reset-values", "-f", str(self.values), *settings,
            "--wait", "--timeout=3m",
        )  # fmt: skip


@dataclass(frozen=True)
class Load:
    namespace: Namespace

    def stop(self) -> Any:
        """Ends the load; returns its summary."""
        self.namespace.kubectl("exec", "load", "--", "touch", "/tmp/load-stop")
        return self.result()

    def result(self) -> Any:
        """Waits until the load has ended by itself; returns its summary."""
        self.namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=180s")
        return json.loads(self.namespace.kubectl("logs", "load").strip().splitlines()[-1])


@dataclass(frozen=True)
class Models:
    """Runs in the cluster's MLflow. Good ones are trained through the API, bad ones are made by spoiling a good one.

    Every step forwards its own port: pods are replaced between the tests.
    """

    cluster: Cluster
    data: Data

    def train(self, algorithm: str = "random_forest", **more: Any) -> Any:
        rows, labels, names = self.data
        with self.cluster.port_forward(NAMESPACE, "service/fairlead-api") as url, Client(url) as api:
            options = {"target": labels, "feature_names": names, "load": False, **more}
            return asdict(api.train(rows, algorithm=algorithm, **options))

    @contextmanager
    def tracking(self) -> Iterator[str]:
        """Points MLflow's client at the cluster's MLflow; yields its URL."""
        with self.cluster.port_forward(NAMESPACE, "service/fairlead-mlflow", 5000) as url:
            mlflow.set_tracking_uri(url)
            yield url

    @cached_property
    def good(self) -> str:
        return str(self.train("logistic_regression")["run_id"])

    @cached_property
    def better(self) -> str:
        return str(self.train("random_forest", hyperparameters={"n_estimators": 20})["run_id"])

    def logged(self, fit: Fit) -> str:
        """A run with a model that `fit` makes, pickled, with an input example."""
        with self.tracking():
            return self._logged("cloudpickle", fit)[0]

    def missing(self) -> str:
        return "0123456789abcdef" * 2

    def without_model(self) -> str:
        with self.tracking(), mlflow.start_run() as run:
            mlflow.log_param("model", "none")
        return str(run.info.run_id)

    def pickled(self) -> str:
        with self.tracking():
            return self._logged("cloudpickle")[0]

    def truncated(self) -> str:
        with self.tracking() as url:
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

    def _logged(self, serialization: str = "skops", fit: Fit = spoilt.plain) -> tuple[str, str]:
        """Logs a small model with plain MLflow; returns its run and the path of its artifacts in MLflow's API."""
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


@contextmanager
def new_namespace(cluster: Cluster, name: str) -> Iterator[Namespace]:
    """A namespace that enforces the restricted standard, deleted afterwards."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        yield Namespace(cluster, name)
    finally:
        printed.gather(cluster, name)
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def config_map(namespace: str, name: str, content: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": content,
    }


def load_pod(namespace: str, image: str, arguments: list[str]) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "load",
        "image": image,
        "command": arguments,
        "securityContext": security,
        "volumeMounts": [{"name": "script", "mountPath": "/script"}],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/load-started"]}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "load", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": "load"}}],
        },
    }
