"""`kubectl fairlead doctor`: verdicts over what a cluster may answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead_kubectl.doctor import Right, Survey, Unknown, examine, sample
from fairlead_kubectl.expected import VERSION
from tests.unit.kubectl.samples import resource, stalled

CRD = yaml.safe_load((Path(__file__).parents[3] / "manifests/crd.yaml").read_text())
ESTABLISHED = {"conditions": [{"type": "Established", "status": "True"}]}
METRICS = 'fairlead_registry_up 1.0\nfairlead_registry_calls_total{outcome="ok"} 3.0\n'
PROMETHEUS = "http://prometheus.monitoring.svc:9090"
MLFLOW = "http://fairlead-mlflow.home.svc:5000"
FORBIDDEN = Unknown("you may not see it")


def operator(version: str = VERSION, available: int = 1, **env: str) -> dict[str, Any]:
    settings = {"MLFLOW_TRACKING_URI": MLFLOW, "PROMETHEUS_URL": PROMETHEUS, "AUTOSCALING_ENGINE": "KEDA"} | env
    variables = [{"name": f"FAIRLEAD_OPERATOR_{name}", "value": value} for name, value in settings.items()]
    return {
        "metadata": {"name": "op", "namespace": "home", "labels": {"app.kubernetes.io/version": version}},
        "spec": {"template": {"spec": {"containers": [{"env": variables}]}}},
        "status": {"availableReplicas": available},
    }


def mlflow(*arguments: str) -> dict[str, Any]:
    return {
        "spec": {"template": {"spec": {"containers": [{"command": ["mlflow", "server"], "args": list(arguments)}]}}}
    }


WELL = Survey(
    server="v1.37.2",
    crd=CRD | {"status": ESTABLISHED},
    operators=(operator(),),
    operator_rights=(Right("list", "pods", True),),
    own_rights=(Right("get", "modeldeployments", True),),
    metrics=METRICS,
    mlflow=(mlflow("--host=0.0.0.0", "--allowed-hosts=localhost,fairlead-mlflow.home.svc:5000"),),
    prometheus={"ml": 2.0},
    monitors=({},),
    api_services={"external.metrics.k8s.io": True},
    groups=frozenset({"keda.sh", "monitoring.coreos.com"}),
    resources=(resource(readyReplicas=2),),
)


def state(name: str, **changes: Any) -> tuple[str, str]:
    found = next(check for check in examine(replace(WELL, **changes)) if check.name == name)
    return found.state, found.text + found.next


def test_a_good_installation_is_found_good() -> None:
    assert {check.state for check in examine(WELL)} == {"ok"}


def without_field(*path: str) -> dict[str, Any]:
    old: dict[str, Any] = yaml.safe_load(yaml.safe_dump(CRD)) | {"status": ESTABLISHED}
    schema = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in path[:-1]:
        schema = schema["properties"][part]
    del schema["properties"][path[-1]]
    return old


@pytest.mark.parametrize(
    ("name", "changes", "verdict", "text"),
    [
        ("CRD", {"crd": Unknown("none", absent=True)}, "bad", "helm install"),
        ("CRD", {"crd": FORBIDDEN}, "unknown", "may not"),
        ("CRD", {"crd": without_field("spec", "cache")}, "warning", "spec.cache"),
        ("CRD", {"crd": CRD}, "bad", "established"),
        ("operator", {"operators": ()}, "bad", "helm install"),
        ("operator", {"operators": (operator(available=0),)}, "bad", "describe pods"),
        ("operator", {"operators": (operator(version="0.0.1"),)}, "warning", "0.0.1"),
        ("operator", {"operators": (operator(), operator())}, "bad", "2 of them"),
        ("operator's rights", {"operator_rights": (Right("patch", "pods/status", False),)}, "bad", "patch pods/status"),
        ("your rights", {"own_rights": (Right("get", "pods/log", False),)}, "warning", "get pods/log"),
        ("MLflow", {"metrics": "fairlead_registry_up 0.0\n"}, "bad", "did not answer"),
        ("MLflow's hosts", {"mlflow": (mlflow("--allowed-hosts=localhost"),)}, "bad", "403"),
        ("MLflow's hosts", {"mlflow": (mlflow("--allowed-hosts", "*.home.svc:5000"),)}, "ok", "allowed"),
        ("MLflow's hosts", {"mlflow": (mlflow(),)}, "warning", "localhost"),
        ("MLflow's hosts", {"mlflow": ()}, "skipped", "not part"),
        ("Prometheus", {"prometheus": Unknown("not found", absent=True)}, "bad", PROMETHEUS),
        ("Prometheus", {"prometheus": FORBIDDEN}, "unknown", "may not"),
        ("Prometheus", {"operators": (operator(PROMETHEUS_URL=""),)}, "skipped", "operator.prometheus.url"),
        (
            "Prometheus",
            {
                "operators": (operator(PROMETHEUS_URL=""),),
                "resources": (resource(spec={"rollout": {"strategy": "Canary"}}),),
            },
            "bad",
            "ml/fraud needs it",
        ),
        ("scraping", {"prometheus": {}}, "bad", "ml"),
        ("scraping", {"prometheus": {}, "monitors": ()}, "bad", "monitoring.enabled"),
        ("autoscaling", {"groups": frozenset()}, "skipped", "KEDA is not installed"),
        (
            "autoscaling",
            {"groups": frozenset(), "resources": (resource(spec={"autoscaling": {"maxReplicas": 3}}),)},
            "bad",
            "ml/fraud wants",
        ),
        ("autoscaling", {"api_services": {"external.metrics.k8s.io": False}}, "skipped", "not available"),
        ("models", {"resources": (stalled("ModelCorrupt"),)}, "warning", "kubectl fairlead why fraud"),
    ],
)
def test_what_is_wrong_is_named_with_what_mends_it(name: str, changes: Any, verdict: str, text: str) -> None:
    found, said = state(name, **changes)
    assert found == verdict
    assert text in said


def test_nothing_that_may_not_be_seen_is_called_wrong() -> None:
    blind = {
        name: FORBIDDEN
        for name in (
            "crd", "operators", "operator_rights", "own_rights", "metrics", "mlflow", "prometheus", "monitors",
            "api_services", "resources",
        )
    }  # fmt: skip
    assert {check.state for check in examine(replace(WELL, **blind))} <= {"ok", "unknown", "skipped"}


def test_reading_metrics() -> None:
    assert sample(METRICS, "fairlead_registry_calls_total") == 3.0
    assert sample(METRICS, "fairlead_registry") is None
