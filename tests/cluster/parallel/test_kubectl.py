"""`kubectl fairlead` as people call it: a plug-in of kubectl, against real pods and real trouble."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace, new_namespace
from tests.cluster.queries import eventually
from tools.cluster import Cluster
from tools.up import NAMESPACE

HOLD = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 3600, "minRequests": 20, "progressDeadlineSeconds": 7200}
"""A canary that stays at its second step until somebody decides."""


READ_ONLY = pytest.mark.xdist_group("kubectl-read-only")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Plugin:
    cluster: Cluster

    @property
    def environment(self) -> dict[str, str]:
        own = [str(Path(sys.executable).parent), str(self.cluster.binaries)]
        return self.cluster.environment | {"PATH": os.pathsep.join([*own, os.environ["PATH"]])}

    def __call__(self, *arguments: str, stdin: str = "") -> Said:
        done = subprocess.run(
            ["kubectl", "fairlead", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def plugin(cluster: Cluster) -> Plugin:
    return Plugin(cluster)


@pytest.fixture
def rows(data: Data, tmp_path: Path) -> str:
    """A file with two rows."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(data[0][:2]))
    return str(path)


@pytest.fixture(scope="module")
def deployed(models: Models) -> Iterator[Namespace]:
    """Models that serve, that were refused, and whose pods do not start, side by side for tests that only look."""
    with new_namespace(models.cluster, f"t-{secrets.token_hex(4)}") as namespace:
        namespace.deploy("fraud", models.good)
        namespace.deploy("refused", models.pickled())
        for case, (spec, _, _) in TROUBLE.items():
            namespace.deploy(case, models.good, replicas=1, **spec)
        namespace.await_("fraud", "UpToDate")
        yield namespace


@READ_ONLY
def test_a_model_that_serves(deployed: Namespace, models: Models, plugin: Plugin, rows: str) -> None:
    here = ("--namespace", deployed.name)

    screen = plugin("status", "fraud", *here)
    assert screen.code == 0, screen.err
    assert models.good[:8] in screen.out
    assert "\x1b" not in screen.out, "colours are for terminals"
    document = plugin("status", "fraud", *here, "-o", "json").json
    assert (document["health"], document["serving"]["runID"]) == ("ok", models.good)
    assert [pod["state"] for pod in document["pods"]] == ["ok"]
    why = plugin("why", "fraud", *here)
    assert (why.code, "Nothing is wrong" in why.out) == (0, True)
    assert plugin("history", "fraud", *here, "-o", "json").json[0]["verdict"] == "Serving"
    answer = plugin("predict", "fraud", *here, "-f", rows, "-o", "json").json
    assert (len(answer["predictions"]), answer["run_id"]) == (2, models.good)
    wrong = plugin("predict", "fraud", *here, "-f", "-", stdin="[[1, 2]]")
    assert (wrong.code, "30" in wrong.err) == (2, True), "the API's own words say how many features the model has"
    logs = plugin("logs", "fraud", *here, "--tail", "-1")
    assert "POST /predict 200" in logs.out
    assert "{" not in logs.out.splitlines()[0]


TROUBLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "no-such-image": ({"image": "localhost/no-such-image:1"}, "Image|Err", "image"),
    "no-room": ({"resources": {"requests": {"cpu": "900"}}}, "Unschedulable", "No node has room"),
    "no-such-node": ({"nodeSelector": {"disk": "none"}}, "Unschedulable", "spec.nodeSelector"),
    "no-such-secret": (
        {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}]},
        "CreateContainerConfigError",
        "Secret",
    ),
}


@READ_ONLY
@pytest.mark.parametrize("case", TROUBLE)
def test_why_a_pod_does_not_start(deployed: Namespace, plugin: Plugin, case: str) -> None:
    _, reasons, likely = TROUBLE[case]
    found = eventually_unhealthy(plugin, case, deployed)
    assert any(found["reason"].startswith(reason) for reason in reasons.split("|")), found
    assert likely in found["likely"]
    assert found["next"]
    assert found["evidence"].startswith(f"pod {case}-")


def eventually_unhealthy(plugin: Plugin, name: str, namespace: Namespace) -> Any:
    def ask() -> Said:
        return plugin("why", name, "-n", namespace.name, "-o", "json")

    return eventually(ask, lambda said: said.code == 1).json


@READ_ONLY
def test_why_a_model_was_refused(deployed: Namespace, plugin: Plugin) -> None:
    deployed.await_("refused", "Stalled")
    said = plugin("why", "refused", "-n", deployed.name)
    assert said.code == 1
    assert "ModelRefused" in said.out
    assert "allowPickle" in said.out, "the command that allows it"
    assert plugin("status", "refused", "-n", deployed.name).code == 1


def test_why_a_quota(namespace: Namespace, models: Models, plugin: Plugin) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    namespace.apply(quota | {"metadata": {"name": "none", "namespace": namespace.name}})
    namespace.kubectl("wait", "--for=jsonpath={.status.hard.pods}=0", "resourcequota/none", "--timeout=30s")
    namespace.deploy("fraud", models.good)
    found = eventually_unhealthy(plugin, "fraud", namespace)
    assert (found["reason"], "quota" in found["likely"]) == ("ReplicaFailure", True)


@pytest.fixture
def trial(namespace: Namespace, models: Models) -> Namespace:
    """A canary at its second step, which it will not leave by itself."""
    namespace.deploy("fraud", models.good, rollout=HOLD)
    namespace.await_("fraud", "UpToDate")
    namespace.deploy("fraud", models.better, rollout=HOLD)
    namespace.await_("fraud", "{.status.candidate.weightPercent}=50")
    return namespace


def test_a_canary_is_seen_asked_and_promoted(trial: Namespace, models: Models, plugin: Plugin, rows: str) -> None:
    here = ("-n", trial.name)
    screen = plugin("status", "fraud", *here)
    assert screen.code == 0
    assert "step 2 of 2 (50 %)" in screen.out
    assert plugin("predict", "fraud", *here, "-f", rows, "--candidate", "-o", "json").json["run_id"] == models.better
    unasked = plugin("promote", "fraud", *here)
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    dry = plugin("promote", "fraud", *here, "--dry-run")
    assert "fairlead.dev/promote" in dry.out
    assert "annotations" not in trial.get("fraud")["metadata"], "nothing was changed so far"

    assert plugin("promote", "fraud", *here, "--yes").code == 0

    trial.await_("fraud", "UpToDate")
    assert trial.get("fraud")["status"]["serving"]["runID"] == models.better
    audit = trial.cluster.kubectl("logs", "--namespace", NAMESPACE, "deployment/fairlead-operator", "--since=5m")
    assert any(trial.name in line and '"by":"kubectl-fairlead"' in line for line in audit.splitlines())
    assert plugin("promote", "fraud", *here, "--yes").code == 2, "there is nothing on trial any more"


def test_a_canary_is_frozen_by_suspending_and_aborted(trial: Namespace, models: Models, plugin: Plugin) -> None:
    trial.deploy("fraud", models.better, rollout=HOLD, suspend=True)
    trial.await_("fraud", '{.status.conditions[?(@.type=="UpToDate")].reason}=Suspended')
    assert trial.get("fraud")["status"]["candidate"]["weightPercent"] == 50
    trial.deploy("fraud", models.better, rollout=HOLD)
    trial.await_("fraud", "{.status.candidate.weightPercent}=50")
    trial.await_("fraud", '{.status.conditions[?(@.type=="UpToDate")].reason}=CanaryInProgress')

    assert plugin("abort", "fraud", "-n", trial.name, "--yes").code == 0
    trial.await_("fraud", "Stalled")
    assert trial.get("fraud")["status"]["serving"]["runID"] == models.good
    said = plugin("why", "fraud", "-n", trial.name)
    assert (said.code, "Aborted" in said.out) == (1, True)
    assert "Rejected: Aborted" in plugin("history", "fraud", "-n", trial.name).out


def test_going_back_to_the_run_before(namespace: Namespace, models: Models, plugin: Plugin) -> None:
    for run_id in (models.good, models.better):
        namespace.deploy("fraud", run_id)
        namespace.await_("fraud", "UpToDate")
    dry = plugin("rollback", "fraud", "-n", namespace.name, "--dry-run")
    assert models.good in dry.out

    said = plugin("rollback", "fraud", "-n", namespace.name, "--yes")

    assert said.code == 0, said.err
    namespace.await_("fraud", f"{{.status.serving.runID}}={models.good}")
    namespace.await_("fraud", "UpToDate")


def test_going_back_along_an_alias(namespace: Namespace, models: Models, plugin: Plugin) -> None:
    name = f"fraud-{namespace.name}"
    registered = {"model_name": name, "alias": "champion", "plots": False}
    runs = [models.train("logistic_regression", **registered)["run_id"]]
    model = {"uri": f"models:/{name}@champion"}
    namespace.deploy("fraud", "", model=model)
    namespace.await_("fraud", "UpToDate")
    runs.append(models.train("logistic_regression", hyperparameters={"C": 0.1}, **registered)["run_id"])
    namespace.await_("fraud", f"{{.status.serving.runID}}={runs[1]}")
    here = ("-n", namespace.name)

    asked = plugin("rollback", "fraud", *here, "--yes")
    assert asked.code == 2
    assert "--move-alias" in asked.err
    assert "version 1" in asked.err
    moved = plugin("rollback", "fraud", *here, "--yes", "--move-alias")
    assert moved.code == 0, moved.err
    assert "version 1" in moved.out
    namespace.await_("fraud", f"{{.status.serving.runID}}={runs[0]}")
    namespace.await_("fraud", "UpToDate")

    namespace.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-",
        stdin=json.dumps(namespace.get("fraud") | {"metadata": {"name": "fraud"}, "status": {}}),
    )  # fmt: skip
    pinned = plugin("rollback", "fraud", *here, "--yes", "--pin")
    assert pinned.code == 0, pinned.err
    assert "no longer follows the alias" in pinned.err
    assert "Argo CD manages this object" in pinned.err
    assert namespace.get("fraud")["spec"]["model"] == {"uri": f"models:/{name}/2", "updatePolicy": "Auto"} | {
        "allowPickle": False
    }
    namespace.await_("fraud", f"{{.status.serving.runID}}={runs[1]}")


def test_what_waits_for_approval_is_let_in(namespace: Namespace, models: Models, plugin: Plugin) -> None:
    """Watched all the while: a state a line, until Ctrl-C."""
    name = f"manual-{namespace.name}"
    registered = {"model_name": name, "alias": "champion", "plots": False}
    models.train("logistic_regression", **registered)
    model = {"uri": f"models:/{name}@champion", "updatePolicy": "Manual"}
    namespace.deploy("fraud", "", model=model)
    namespace.await_("fraud", "UpToDate")
    watch = [
        "kubectl",
        "fairlead",
        "status",
        "fraud",
        "-n",
        namespace.name,
        "--watch",
        "-o",
        "json",
        "--interval",
        "0.5",
    ]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True, env=plugin.environment) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["health"] == "ok"
        second = models.train("logistic_regression", hyperparameters={"C": 0.1}, **registered)["run_id"]
        waiting = next(line for line in map(json.loads, watching.stdout) if line["health"] != "ok")
        assert (waiting["health"], waiting["reason"]) == ("attention", "UpdateAvailable")

        assert plugin("promote", "fraud", "-n", namespace.name, "--yes").code == 0

        serving = (line for line in map(json.loads, watching.stdout) if line["serving"]["runID"] == second)
        assert next(serving)["name"] == "fraud"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0


@pytest.mark.xdist_group("installation")
def test_an_installation_that_is_well(cluster: Cluster, plugin: Plugin) -> None:
    found = {check["name"]: check for check in plugin("doctor", "-o", "json").json}
    wrong = {name: check for name, check in found.items() if check["state"] not in ("ok", "warning")}
    assert not wrong
    assert "runs" in found["operator"]["text"]
    assert found["operator's rights"]["state"] == found["MLflow"]["state"] == found["scraping"]["state"] == "ok"


def test_somebody_who_may_see_little(namespace: Namespace, plugin: Plugin, tmp_path: Path) -> None:
    """Is told what cannot be told, and by whose rights; nothing is called wrong that was not seen."""
    namespace.kubectl("create", "serviceaccount", "guest")
    token = namespace.kubectl("create", "token", "guest").strip()
    kubeconfig = json.loads(namespace.kubectl("config", "view", "--raw", "--minify", "--output", "json"))
    kubeconfig["users"][0]["user"] = {"token": token}
    path = tmp_path / "guest.kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    here = ("--namespace", namespace.name, "--kubeconfig", str(path))

    refused = plugin("status", "fraud", *here)
    assert refused.code == 2
    assert "cannot get resource" in refused.err
    checks = {check["name"]: check for check in plugin("doctor", *here, "-o", "json").json}
    assert {checks[name]["state"] for name in ("operator", "models", "CRD")} == {"unknown"}
    assert checks["your rights"]["state"] == "warning"
    assert not [check for check in checks.values() if check["state"] == "bad"]


def test_what_is_not_there(namespace: Namespace, plugin: Plugin) -> None:
    said = plugin("why", "none", "-n", namespace.name)
    assert (said.code, "not found" in said.err) == (2, True)
    assert plugin("nonsense").code == 2
    assert plugin("status", "x", "--context", "none").code == 2
    assert NAMESPACE in json.dumps(plugin("doctor", "-o", "json").json)
