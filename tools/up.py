"""`make up`: a cluster, Fairlead on it, a model trained through its API, served by pods that its operator rolled.

Uses kind where Docker and kind are there, else `tools.localcluster`. Every stage is skipped quickly when its work is
done, so a second `make up` brings a changed checkout onto the same cluster. `tools.stack` is the same with one stage
more. What is made once per machine (programs, images) is `tools.prepare`'s, a stage each where it is missing.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from examples import breast_cancer
from tools import budget, kind, prepare
from tools.cluster import KUBECONFIG, ROOT, STATE, Cluster, CommandError, binaries
from tools.localcluster.paths import LocalClusterError
from tools.prepare import Lane, Machine, Preparation
from tools.stages import Stages, announcement, say

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


STAGES = ("cluster", "images into the cluster", "helm install", "first model", "ModelDeployment", "predictions")


@dataclass(frozen=True)
class Extension:
    """What `make stack` adds to the cluster, before Fairlead is installed on it."""

    title: str
    what: str
    """For the first line, after what `make up` makes."""
    use: str
    """Of `tools.prepare`, and the name of the estimate."""
    add: Callable[[Cluster], None]


def tool(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def start_cluster(asked: str, machine: Machine) -> None:
    """Starts the cluster; one that runs stays, in its version, unless another one is asked for."""
    if not machine.has_kind:
        version = ["--kubernetes", machine.kubernetes] if asked else []
        subprocess.run(tool("tools.localcluster", "up", *version), cwd=ROOT, check=True)
    elif not kind.runs():
        kind.create(ROOT, KUBECONFIG, machine.kubernetes)
    elif asked:
        say("the kind cluster that runs stays as it is; `make down` lets it have another version")


def load_images() -> dict[str, str]:
    """Brings the images into the cluster, its progress shown; returns name → reference."""
    command = tool("tools.images", "build", *IMAGES, "--load", "--json")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    references: dict[str, str] = json.loads(done.stdout)
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


def bring_up(extension: Extension | None = None) -> Cluster:
    """Prints what will be done, and does it. The images are built while the cluster starts: the one waits for the
    network while the other compiles."""
    asked = os.environ.get("KUBERNETES_VERSION", "")
    machine = prepare.look(asked)
    extra = [extension.use] if extension else []
    missing = prepare.missing(prepare.items(["cluster", *extra], machine))
    table = budget.load()
    slowness = budget.slowness(budget.calibrate(), table) if missing else 1.0
    what = f"Kubernetes {machine.kubernetes}, Fairlead, MLflow and a trained model{extension.what if extension else ''}"
    say(announcement(what, missing, ["up", *extra], table, slowness))
    stages = Stages(len(missing) + len(STAGES) + len(extra))
    preparation = Preparation(missing, stages.numbering, say)
    try:
        preparation.start()
        preparation.wait(Lane.PROGRAMS)
        with stages.stage("cluster"):
            start_cluster(asked, machine)
        preparation.wait()
    finally:
        preparation.end()
    return furnish(stages, extension)


def furnish(stages: Stages, extension: Extension | None) -> Cluster:
    """Puts everything onto the cluster that runs."""
    with stages.stage("images into the cluster"):
        references = load_images()
    cluster = Cluster(binaries())
    if extension is not None:
        with stages.stage(extension.title):
            extension.add(cluster)
    with stages.stage("helm install"):
        install(cluster, references)
    if is_ready(cluster.get("modeldeployment", MODEL, MODELS)):
        stages.skip("first model", "there already")
    else:
        with stages.stage("first model: train, track, register"):
            say(f"  {train_first_model(cluster)}")
    with stages.stage("ModelDeployment"):
        deploy_sample(cluster)
    with stages.stage("predictions"):
        say(f"  {predict(cluster)}")
    return cluster


def command(hints: str, extension: Extension | None = None) -> int:
    """Brings everything up and prints the hints; what the user can mend is one line and code 1."""
    from fairlead import FairleadError

    began = time.monotonic()
    try:
        cluster = bring_up(extension)
    except (CommandError, LocalClusterError, subprocess.CalledProcessError, FairleadError) as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("up: interrupted; the same command goes on from here, `make down` cleans up", file=sys.stderr)
        return 130
    say(f"all done in {time.monotonic() - began:.0f} s")
    print(hints.format(path=cluster.binaries))
    return 0


def main() -> int:
    return command(NEXT)


if __name__ == "__main__":
    sys.exit(main())
