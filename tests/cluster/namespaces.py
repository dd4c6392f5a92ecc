"""A namespace of a test, and what is done to ModelDeployments in it."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster import pod_logs
from tests.cluster.load import SCRIPT, Load, config_map, load_pod
from tests.cluster.recordings import Recording
from tools.cluster import Cluster
from tools.up import NAMESPACE, RESTRICTED

RUN_LABEL = "fairlead.dev/run-id"
OWNER_LABEL = "fairlead.dev/model-deployment"
OWNED_KINDS = "deployments,replicasets,pods,services,poddisruptionbudgets,networkpolicies"
TIMEOUT_SECONDS = 240
"""Tests run side by side on two cores: waiting longer than usual is no fault of what is tested."""


@dataclass(frozen=True)
class Namespace:
    cluster: Cluster
    name: str

    def apply(self, manifest: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))

    def deploy(self, name: str, run_id: str, **spec: Any) -> None:
        """Applies a ModelDeployment of one replica that names a run; a field that is None is left out."""
        spec = {"model": {"runID": run_id}, "replicas": 1, "rollout": {"progressDeadlineSeconds": 300}} | spec
        spec = {key: value for key, value in spec.items() if value is not None}
        metadata = {"name": name, "namespace": self.name}
        self.apply(
            {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
        )

    def await_(self, name: str, condition: str, timeout: int = TIMEOUT_SECONDS) -> None:
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
            recording.await_states(1, 60)
            try:
                yield recording
            finally:
                process.terminate()
                reader.join(10)

    @contextmanager
    def load(
        self, name: str, awaited_run: str, *bodies: str, rate: int = 150, limit_seconds: int = 480
    ) -> Iterator["Load"]:
        """Starts a pod in this namespace that sends `rate` requests a second to the model's Service, the bodies in
        turn, until the awaited run alone answers or somebody stops it."""
        image = self.cluster.get("deployment", "fairlead-api", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]
        self.apply(config_map(self.name, "load", {"load.py": SCRIPT.read_text()}))
        url = f"http://{name}.{self.name}.svc:8000"
        arguments = ["python", "/script/load.py", url, awaited_run, str(rate), str(limit_seconds), *bodies]
        self.apply(load_pod(self.name, image["image"], arguments))
        self.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=120s")
        yield Load(self.kubectl)
        self.kubectl("delete", "pod", "load", "--wait=false")


@contextmanager
def new_namespace(cluster: Cluster, name: str) -> Iterator[Namespace]:
    """A namespace that enforces the restricted standard, deleted afterwards."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        yield Namespace(cluster, name)
    finally:
        pod_logs.gather(cluster, name)
        cluster.kubectl("delete", "namespace", name, "--wait=false")
