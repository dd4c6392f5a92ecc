"""What the images do not carry, asked of the pods that run from them."""

import pytest

from tools.cluster import Cluster, CommandError
from tools.up import NAMESPACE

ABSENT = {
    "fairlead-operator": ("sklearn", "mlflow", "fairlead_service", "pytest", "pip", "uv"),
    "fairlead-api": ("fairlead_operator", "kopf", "pytest", "hypothesis", "pip", "uv"),
}


@pytest.mark.parametrize(("deployment", "module"), [(name, module) for name, all_ in ABSENT.items() for module in all_])
def test_an_image_has_nothing_it_does_not_need(cluster: Cluster, deployment: str, module: str) -> None:
    with pytest.raises(CommandError, match=f"No module named '{module}'"):
        execute(cluster, deployment, f"import {module}")


@pytest.mark.parametrize("deployment", ABSENT)
def test_a_pod_runs_as_nobody_and_cannot_write_its_image(cluster: Cluster, deployment: str) -> None:
    assert execute(cluster, deployment, "import os; print(os.getuid())").strip() == "65532"
    with pytest.raises(CommandError, match="Read-only file system"):
        execute(cluster, deployment, "open('/opt/fairlead-was-here', 'w')")


def execute(cluster: Cluster, deployment: str, code: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, f"deployment/{deployment}", "--", "python", "-c", code)
