"""What tools that apply and wait make of a ModelDeployment. Helm 4 waits by kstatus, the rules that Flux waits by."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tools.cluster import CommandError

CHART = {"apiVersion": "v2", "name": "models", "version": "1.0.0"}
TEMPLATE = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "released"},
    "spec": {
        "model": {"runID": "{{ .Values.runID }}"},
        "replicas": 1,
        "rollout": {"strategy": "{{ .Values.strategy }}", "steps": [0], "progressDeadlineSeconds": 120},
    },
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(CHART))
    (tmp_path / "templates/model.yaml").write_text(yaml.safe_dump(TEMPLATE))
    return tmp_path


def release(namespace: Namespace, chart: Path, run_id: str, strategy: str = "Rolling") -> None:
    values = ["--set", f"runID={run_id},strategy={strategy}"]
    namespace.cluster.helm(
        "upgrade", "--install", "models", str(chart), "-n", namespace.name, *values, "--wait", "--timeout=4m"
    )


def differs(namespace: Namespace, chart: Path) -> str:
    """What `kubectl diff` says of the objects that were released; nothing if they are as they were written."""
    rendered = namespace.cluster.helm("get", "manifest", "models", "-n", namespace.name)
    return namespace.kubectl("diff", "--server-side", "-f", "-", stdin=rendered)


def spec(namespace: Namespace) -> Any:
    return namespace.get("released")["spec"]


def test_who_waits_is_told_when_it_serves_and_when_it_never_will(
    namespace: Namespace, models: Models, chart: Path
) -> None:
    release(namespace, chart, models.good)
    assert namespace.get("released")["status"]["serving"]["runID"] == models.good

    release(namespace, chart, models.better, "Canary")
    assert namespace.get("released")["status"]["serving"]["runID"] == models.better, (
        "a trial, decided by the input example alone, is no end"
    )
    assert differs(namespace, chart) == ""
    written = spec(namespace)

    with pytest.raises(CommandError, match="Failed") as failed:
        release(namespace, chart, models.missing(), "Canary")
    assert "deadline" not in str(failed.value), "it waited for nothing"
    assert namespace.get("released")["status"]["serving"]["runID"] == models.better
    model = written["model"] | {"runID": models.missing()}
    assert spec(namespace) == written | {"model": model}, "nobody but its author writes the spec"
    assert namespace.get("released")["metadata"]["generation"] == 3
