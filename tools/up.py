"""`make up`: a cluster, Fairlead on it, a model trained through its API, served by pods that its operator rolled.

Uses kind where Docker and kind are there, else `tools.localcluster`. Every stage is skipped quickly when its work is
done, so a second `make up` brings a changed checkout onto the same cluster. `tools.stack` is the same with one stage
more.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from examples import breast_cancer
from tools import kind
from tools.cluster import KUBECONFIG, ROOT, STATE, Cluster, CommandError, binaries, run
from tools.localcluster.binaries import KUBERNETES_VERSIONS

NAMESPACE = "fairlead"
RELEASE = "fairlead"
MODELS = "models"
MODEL = "breast-cancer"
SAMPLES = ROOT / "manifests" / "samples"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
IMAGES = ("service", "operator", "mlflow")
MONITORING = "monitoring"
"""Namespace and release of charts/fairlead-stack."""
PROMETHEUS = "monitoring-kube-prometheus-prometheus"
JAEGER = "jaeger"
QUICK = {
    "ALIAS_POLL_SECONDS": 3,
    "DRIFT_POLL_SECONDS": 5,
    "SCALING_POLL_SECONDS": 2,
    "SCALING_WINDOW_SECONDS": 15,
    "SCALE_DOWN_WINDOW_SECONDS": 30,
    "SCALE_DOWN_PERIOD_SECONDS": 15,
}
"""Operator settings for somebody who watches, and for tests that wait: everything happens within seconds."""
MONITORED: dict[str, Any] = {
    "monitoring": {"enabled": True, "interval": "2s", "dashboards": {"enabled": True}},
    "mlflow.metrics": {"enabled": True},
    "operator.prometheus": {"url": f"http://{PROMETHEUS}.{MONITORING}.svc:9090"},
    "operator.extraEnv": [
        {"name": f"FAIRLEAD_OPERATOR_{name}", "value": str(seconds)} for name, seconds in QUICK.items()
    ],
}
TRACED: dict[str, Any] = {"tracing": {"endpoint": f"http://{JAEGER}.{MONITORING}.svc:4318", "sampleRatio": 0.1}}
"""Values of charts/fairlead: scrapes, traces and scaling quick enough for somebody who watches."""

NEXT = f"""
Your cluster is up. Things to try:

  export KUBECONFIG={STATE.relative_to(ROOT)}/kubeconfig PATH={{path}}:$PWD/.venv/bin:$PATH
  kubectl get modeldeployments --all-namespaces
  kubectl describe modeldeployment {MODEL} --namespace {MODELS}
  kubectl fairlead status {MODEL} --namespace {MODELS}
  kubectl port-forward --namespace {NAMESPACE} service/fairlead-api 8000     # then http://127.0.0.1:8000/docs
  kubectl port-forward --namespace {NAMESPACE} service/fairlead-mlflow 5000  # then http://127.0.0.1:5000
  make status · make stack · make test-cluster · make down
"""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Prints a line when a stage begins and one when it is done, with its seconds."""
    print(f"up: {name} …", flush=True)
    began = time.monotonic()
    yield
    print(f"up: {name}: done in {time.monotonic() - began:.1f} s", flush=True)


def tool(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def pinned(asked: str, versions: Iterable[str]) -> str:
    """The version that is asked for, in full or as its minor (1.34); the first where none is."""
    known = list(versions)
    for version in known:
        if not asked or version == asked or version.startswith(f"{asked}."):
            return version
    raise CommandError(f"Kubernetes {asked} is not pinned here. Pinned: KUBERNETES_VERSION={' or '.join(known)}")


def start_cluster(kubernetes: str) -> None:
    """Starts the cluster and, meanwhile, builds the images: one waits for the network while the other compiles."""
    images = subprocess.Popen(tool("tools.images", "build", *IMAGES), cwd=ROOT)
    try:
        if not kind.answers():
            version = ["--kubernetes", pinned(kubernetes, KUBERNETES_VERSIONS)] if kubernetes else []
            subprocess.run(tool("tools.localcluster", "up", *version), cwd=ROOT, check=True)
        elif not kind.runs():
            kind.create(ROOT, KUBECONFIG, pinned(kubernetes, kind.NODES))
        elif kubernetes:
            print("up: the kind cluster that runs stays as it is; `make down` lets it have another version", flush=True)
    except BaseException:
        images.terminate()
        raise
    finally:
        images.wait()
    if images.returncode:
        raise CommandError("the images could not be built, see above")


def load_images() -> dict[str, str]:
    """Brings the images into the cluster; returns name → reference."""
    references: dict[str, str] = json.loads(run(tool("tools.images", "build", *IMAGES, "--load", "--json")))
    return references


def image_value(component: str, reference: str) -> list[str]:
    repository, tag = reference.rsplit(":", 1)
    registry, _, repository = repository.rpartition("/")
    key = f"{component}.image"
    return [f"{key}.registry={registry}", f"{key}.repository={repository}", f"{key}.tag={tag}"]


def stack_values(cluster: Cluster) -> dict[str, Any]:
    """Lets Fairlead use what there is of the stack; also in a later `make up`, which must not undo `make stack`."""
    found: dict[str, Any] = {}
    for service, values in ((PROMETHEUS, MONITORED), (JAEGER, TRACED)):
        if cluster.get("service", service, MONITORING):
            found |= values
    return found


def install(cluster: Cluster, references: dict[str, str]) -> None:
    """Installs or upgrades the chart and waits until everything in it is ready."""
    values = [value for component, reference in references.items() for value in image_value(component, reference)]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": RESTRICTED}}
    cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(namespace))
    more = [
        part for key, value in stack_values(cluster).items() for part in ("--set-json", f"{key}={json.dumps(value)}")
    ]
    cluster.helm(
        "upgrade", "--install", RELEASE, "charts/fairlead", "--namespace", NAMESPACE,
        "--set-string", ",".join(values), *more, "--wait", "--timeout", "5m",
    )  # fmt: skip


def is_ready(resource: Any) -> bool:
    conditions = (resource or {}).get("status", {}).get("conditions", [])
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def train_first_model(cluster: Cluster) -> str:
    """Trains a random forest through the API and registers it as breast-cancer@champion; returns a line about it."""
    from fairlead import Client  # `make status` takes names from this module with any Python, without .venv

    rows, labels, names = breast_cancer.read_data(breast_cancer.DATA)
    with cluster.port_forward(NAMESPACE, "service/fairlead-api") as url, Client(url) as api:
        trained = api.train(
            rows,
            labels,
            feature_names=names,
            algorithm="random_forest",
            hyperparameters=breast_cancer.ALGORITHMS["random_forest"],
            model_name=MODEL,
            alias="champion",
        )
    return f"run {trained.run_id}, accuracy {trained.metrics['accuracy']:.3f} on held-out rows"


def deploy_sample(cluster: Cluster) -> None:
    """Applies the sample ModelDeployment, over what somebody changed by hand, and waits until pods serve it."""
    for name in ("namespace.yaml", "breast-cancer.yaml"):
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(SAMPLES / name))
    for condition in ("Ready", "UpToDate"):
        cluster.kubectl(
            "wait",
            "--for",
            f"condition={condition}",
            "--namespace",
            MODELS,
            f"modeldeployment/{MODEL}",
            "--timeout=180s",
        )


def predict(cluster: Cluster) -> str:
    """Sends all rows to the model's Service; returns a line about the answer."""
    from fairlead import Client

    rows, labels, _ = breast_cancer.read_data(breast_cancer.DATA)
    with cluster.port_forward(MODELS, f"service/{MODEL}") as url, Client(url) as model:
        answer = model.predict(rows)
    return f"run {answer.run_id}: {breast_cancer.hits(answer.predictions, labels)}"


def bring_up(extend: Callable[[Cluster], None] | None = None) -> Cluster:
    """All stages, in order; `extend` adds to the cluster before Fairlead is installed on it."""
    with stage("cluster and images"):
        start_cluster(os.environ.get("KUBERNETES_VERSION", ""))
    with stage("images into the cluster"):
        references = load_images()
    cluster = Cluster(binaries())
    if extend is not None:
        extend(cluster)
    with stage("helm install"):
        install(cluster, references)
    if not is_ready(cluster.get("modeldeployment", MODEL, MODELS)):
        with stage("first model: train, track, register"):
            print(f"up:   {train_first_model(cluster)}")
    with stage("ModelDeployment"):
        deploy_sample(cluster)
    with stage("predictions"):
        print(f"up:   {predict(cluster)}")
    return cluster


def command(hints: str, extend: Callable[[Cluster], None] | None = None) -> int:
    """Brings everything up and prints the hints; what the user can mend is one line and code 1."""
    from fairlead import FairleadError

    began = time.monotonic()
    try:
        cluster = bring_up(extend)
    except (CommandError, subprocess.CalledProcessError, FairleadError) as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("up: interrupted; the same command goes on from here, `make down` cleans up", file=sys.stderr)
        return 130
    print(f"up: all done in {time.monotonic() - began:.0f} s")
    print(hints.format(path=cluster.binaries))
    return 0


def main() -> int:
    return command(NEXT)


if __name__ == "__main__":
    sys.exit(main())
