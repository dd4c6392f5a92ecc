"""For the control-plane tests: a small API client, a kubelet made of status patches, and the operator's process."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools.localcluster.controlplane import ControlPlane, free_port

GROUP = "/apis/fairlead.dev/v1alpha1"
COLLECTIONS = {
    "md": (GROUP, "modeldeployments"),
    "deployment": ("/apis/apps/v1", "deployments"),
    "replicaset": ("/apis/apps/v1", "replicasets"),
    "service": ("/api/v1", "services"),
    "pod": ("/api/v1", "pods"),
    "event": ("/api/v1", "events"),
    "pdb": ("/apis/policy/v1", "poddisruptionbudgets"),
    "netpol": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "hpa": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "scaledobject": ("/apis/keda.sh/v1alpha1", "scaledobjects"),
    "rule": ("/apis/monitoring.coreos.com/v1", "prometheusrules"),
    "rollout": ("/apis/argoproj.io/v1alpha1", "rollouts"),
}
OWNED = ("deployment", "service", "pdb", "netpol")
OWNER_LABEL = "fairlead.dev/model-deployment"
RUN_LABEL = "fairlead.dev/run-id"
PATIENCE = 120.0
"""Seconds for what is awaited. On a busy machine it takes long, and that is not what is tested."""
GRACE_SECONDS = 30.0
"""After which Kubernetes kills a pod that was asked to end, and the chart leaves it at that."""

Object = dict[str, Any]


class Api:
    """The API server, as administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        stem = plane.authority.directory / "admin"
        tls = ssl.create_default_context(cafile=str(plane.authority.certificate))
        tls.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        self.client = httpx.Client(base_url=plane.url, verify=tls, timeout=30)

    def request(self, method: str, path: str, **more: Any) -> Object:
        answer = self.client.request(method, path, **more)
        while answer.status_code == 429:  # a storage that initializes after a restart
            time.sleep(float(answer.headers.get("Retry-After", "1")))
            answer = self.client.request(method, path, **more)
        if answer.is_error:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        found: Object = answer.json()
        return found

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        answer = self.client.get(path(kind, namespace, name))
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        found: list[Object] = self.request("GET", path(kind, namespace), params={"labelSelector": selector})["items"]
        return found

    def list_all(self, kind: str, namespace: str | None) -> Object:
        """The list itself, whose version a watch can go on from."""
        return self.request("GET", path(kind, namespace))

    def create(self, kind: str, manifest: Object) -> Object:
        return self.request("POST", path(kind, manifest["metadata"]["namespace"]), json=manifest)

    def patch(self, kind: str, namespace: str, name: str, change: Object, subresource: str = "") -> Object:
        """JSON merge patch, as a person's edit is."""
        where = path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return self.request("PATCH", where, content=json.dumps(change), headers=headers)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.request("DELETE", path(kind, namespace, name), params={"propagationPolicy": "Background"})

    def wait(self, kind: str, namespace: str, name: str, until: Callable[[Object | None], Any]) -> Object:
        """Watches one object until `until(object)` holds (it is called with None while there is none)."""
        deadline, last = time.monotonic() + PATIENCE, None
        while (left := deadline - time.monotonic()) > 0:
            found = self.list_one(kind, namespace, name)
            last = next(iter(found["items"]), None)
            if until(last):
                return last or {}
            for event in self.watch(kind, namespace, name, found["metadata"]["resourceVersion"], left):
                last = None if event["type"] == "DELETED" else event["object"]
                if until(last):
                    return last or {}
        raise AssertionError(f"{kind} {namespace}/{name} is not there after {PATIENCE} s: {json.dumps(last, indent=1)}")

    def list_one(self, kind: str, namespace: str, name: str) -> Object:
        return self.request("GET", path(kind, namespace), params={"fieldSelector": f"metadata.name={name}"})

    def watch(self, kind: str, namespace: str | None, name: str, version: str, seconds: float) -> Iterator[Object]:
        query: Object = {"watch": "1", "resourceVersion": version, "timeoutSeconds": max(1, int(seconds))}
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        if kind == "pod":
            query["labelSelector"] = OWNER_LABEL
        with (
            contextlib.suppress(httpx.TransportError),
            self.client.stream("GET", path(kind, namespace), params=query, timeout=seconds + 5) as lines,
        ):
            for line in lines.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the API server's own samples of a metric."""
        lines = self.client.get("/metrics").text.splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(f"{name}{{") and all(label in line for label in wanted)
        )


def path(kind: str, namespace: str | None, name: str = "") -> str:
    root, plural = COLLECTIONS[kind]
    where = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
    return f"{where}/{name}" if name else where


@dataclass
class Kubelet:
    """Pods never run here: their status is patched to be what their run's fate says, Ready unless told otherwise."""

    api: Api
    fates: dict[str, Object | None] = field(default_factory=dict)
    """Of a run: the failure its loader reports ({reason, message}), or None for pods that stay as they are."""
    stopped: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        yield
        self.stopped.set()
        thread.join(1)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                found = self.api.request("GET", path("pod", None), params={"labelSelector": OWNER_LABEL})
                for pod in found["items"]:
                    self._settle(pod)
                for event in self.api.watch("pod", None, "", found["metadata"]["resourceVersion"], 10):
                    if event["type"] == "ADDED":
                        self._settle(event["object"])
                    if self.stopped.is_set():
                        return
            except (httpx.HTTPError, AssertionError):
                self.stopped.wait(0.1)  # the API server restarts

    def _settle(self, pod: Object) -> None:
        metadata, run = pod["metadata"], pod["metadata"]["labels"][RUN_LABEL]
        if metadata.get("deletionTimestamp") or pod["status"].get("message") == "settled":
            return
        fate = self.fates.get(run, {})
        if fate is None:
            return
        status = failed(fate) if fate else ready()
        answer = self.api.client.patch(
            path("pod", metadata["namespace"], metadata["name"]) + "/status",
            content=json.dumps({"status": status | {"message": "settled"}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code in (200, 404, 409), answer.text


def ready() -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}


def failed(told: Object) -> Object:
    ended = {
        "exitCode": 1,
        "reason": "Error",
        "message": json.dumps(told),
        "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    loader = {"name": "loader", "ready": False, "restartCount": 1, "image": "x", "imageID": ""}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {
        "phase": "Pending",
        "initContainerStatuses": [loader | {"state": waiting, "lastState": {"terminated": ended}}],
    }


@dataclass
class Operator:
    """The operator's process."""

    kubeconfig: Path
    tracking_uri: str
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, **settings: str) -> None:
        self.settings |= settings
        ours = {
            "PREDICTOR_IMAGE": "predictor:1",
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "ALIAS_POLL_SECONDS": "1",
            "METRICS_PORT": str(self.port),
            **self.settings,
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAIRLEAD", "MLFLOW"))}
        environment |= {f"FAIRLEAD_OPERATOR_{name}": value for name, value in ours.items()}
        environment["KUBECONFIG"] = str(self.kubeconfig)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fairlead_operator"], env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.await_health()

    def await_health(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)  # a process that starts gives no other sign
        raise AssertionError(f"the operator is not healthy: {self.log.read_text()[-3000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(GRACE_SECONDS)

    def restart(self, how: signal.Signals = signal.SIGTERM, **settings: str) -> None:
        self.stop(how)
        self.start(**settings)

    def memory_mib(self) -> float:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


class Registry:
    """MLflow's registry, filled by REST calls: nothing is trained here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=30)

    def post(self, call: str, **body: Any) -> Object:
        answer = self.client.post(call, json=body)
        assert answer.is_success, answer.text
        found: Object = answer.json()
        return found

    def run(self, model: str | None = "model") -> str:
        """A finished run, with a logged model of that name."""
        run_id = str(self.post("runs/create", experiment_id="0", start_time=1)["run"]["info"]["run_id"])
        if model:
            logged = self.post("logged-models", experiment_id="0", name=model, source_run_id=run_id)
            model_id = logged["model"]["info"]["model_id"]
            self.post("runs/outputs", run_id=run_id, models=[{"model_id": model_id, "step": 0}])
        return run_id

    def version(self, name: str, run_id: str) -> str:
        if not self.client.get("registered-models/get", params={"name": name}).is_success:
            self.post("registered-models/create", name=name)
        made = self.post("model-versions/create", name=name, source=f"runs:/{run_id}/model", run_id=run_id)
        return str(made["model_version"]["version"])

    def alias(self, name: str, alias: str, version: str) -> None:
        self.post("registered-models/alias", name=name, alias=alias, version=version)


def md(namespace: str, name: str, run_id: str, **spec: Any) -> Object:
    spec = {"model": {"runID": run_id}, "replicas": 2} | spec
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def await_true(what: Callable[[], Any], so: str, seconds: float = PATIENCE) -> None:
    """Asks again and again; `so` is said if it does not come true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, so
        time.sleep(0.1)  # it gives no other sign


def condition(resource: Object | None, kind: str) -> Object:
    found = (resource or {}).get("status", {}).get("conditions", [])
    return next((entry for entry in found if entry["type"] == kind), {})


def up_to_date(resource: Object | None) -> bool:
    """As `kubectl wait --for=condition=UpToDate` sees it, for the present generation."""
    if not resource or resource.get("status", {}).get("observedGeneration") != resource["metadata"]["generation"]:
        return False
    return bool(condition(resource, "UpToDate").get("status") == "True")


def settled(deployment: Object | None) -> bool:
    """All its pods are of the present template, and available."""
    if not deployment or deployment["status"].get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False
    counts = {deployment["status"].get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {deployment["spec"]["replicas"]}


def rights(
    plane: ControlPlane, rules: Path, namespace: str | None = None, hours: int = 1, account: str = "operator"
) -> Path:
    """A ServiceAccount with exactly the rules that are shipped, in all namespaces or in one; returns its kubeconfig.
    Its requests have a flow of their own, so that the API server counts them."""
    name = f"{account}-{namespace}" if namespace else account
    scope, where = ("Role", {"namespace": namespace}) if namespace else ("ClusterRole", {})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    holder = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "kube-system"}}
    group = "rbac.authorization.k8s.io"
    shipped = yaml.safe_load(rules.read_text())
    role = {"apiVersion": f"{group}/v1", "kind": scope, "metadata": {"name": name, **where}, **shipped}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": f"{scope}Binding",
        "metadata": {"name": name, **where},
        "roleRef": {"apiGroup": group, "kind": scope, "name": name},
        "subjects": [subject],
    }
    for manifest in (holder, role, binding, _flow(name)):
        plane.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    token = plane.kubectl("create", "token", name, "--namespace=kube-system", f"--duration={hours}h").strip()
    cluster = {"server": plane.url, "certificate-authority": str(plane.authority.certificate)}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "local", "user": name}}],
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
    }
    file = plane.directory / f"{name}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(kubeconfig))
    return file


def _flow(name: str) -> Object:
    account = {"name": name, "namespace": "kube-system"}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    rule = {"subjects": [{"kind": "ServiceAccount", "serviceAccount": account}], "resourceRules": [everything]}
    level = {"name": "workload-high"}
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {"matchingPrecedence": 100, "priorityLevelConfiguration": level, "rules": [rule]},
    }
