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


@pytest.mark.parametrize("deployment", [*ABSENT, "fairlead-mlflow"])
def test_an_image_can_neither_build_nor_install(cluster: Cluster, deployment: str) -> None:
    programs = ("cc", "gcc", "g++", "clang", "ld", "make", "pip", "pip3", "uv", "curl", "wget", "git")
    code = f"import shutil; print([name for name in {programs} if shutil.which(name)])"
    assert execute(cluster, deployment, code).strip() == "[]"


@pytest.mark.parametrize("deployment", ABSENT)
def test_a_pod_runs_as_nobody_and_cannot_write_its_image(cluster: Cluster, deployment: str) -> None:
    assert execute(cluster, deployment, "import os; print(os.getuid())").strip() == "65532"
    with pytest.raises(CommandError, match="Read-only file system"):
        execute(cluster, deployment, "open('/opt/fairlead-was-here', 'w')")


def test_the_service_has_its_kernel_and_everything_compiled(cluster: Cluster) -> None:
    """Without byte code a start takes three times as long, and the root file system can't take any later."""
    code = """
import fastapi, numpy, pathlib, pydantic, sklearn
from importlib.util import cache_from_source
from fairlead_service import native
assert native.available()
for package in (fastapi, native, numpy, pydantic, sklearn):
    files = list(pathlib.Path(package.__file__).parent.rglob("*.py"))
    missing = [str(file) for file in files if not pathlib.Path(cache_from_source(str(file))).exists()]
    assert files and not missing, missing[:5]
print("whole")
"""
    assert execute(cluster, "fairlead-api", code).strip() == "whole"


def execute(cluster: Cluster, deployment: str, code: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, f"deployment/{deployment}", "--", "python", "-c", code)
