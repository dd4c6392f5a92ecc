"""docs/upgrading.md: its commands, in its order, on a release of the chart as it was."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, find_helm
from tools.localcluster import binaries
from tools.localcluster.controlplane import ControlPlane

PAGE = (ROOT / "docs/upgrading.md").read_text()
FIELD = "historyLimit"
"""What the older chart's CRD does not know."""
CRD = "crd/modeldeployments.fairlead.dev"


def commands() -> list[str]:
    """The page's, but for `helm test` and waiting for pods, which need a kubelet."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    return [line.removesuffix(" --wait") for line in lines if not line.startswith("helm test")]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without a CRD."""
    with ControlPlane(tmp_path_factory.mktemp("upgrading")) as plane:
        yield plane


class Shell:
    """As somebody has it who stands in the repository."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        programs = directory / "bin"
        programs.mkdir()
        (programs / "helm").symlink_to(find_helm(4).path)
        (programs / "kubectl").symlink_to(binaries.ensure(["kubectl"])["kubectl"])
        self._directory = directory
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(directory)}
        self._environment["KUBECONFIG"] = str(plane.kubeconfig)
        shutil.copytree(CHART, directory / "charts/fairlead")
        shutil.copytree(ROOT / "manifests", directory / "manifests")

    def run(self, command: str) -> str:
        """What it prints. `kubectl diff` ends with 1 if there is a difference."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._directory, env=self._environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode <= ("kubectl diff" in command), f"{command}\n{done.stdout[-2000:]}\n{done.stderr}"
        return done.stdout


def fields(plane: ControlPlane) -> set[str]:
    """Of `spec`, as the cluster's CRD has it."""
    crd: Any = yaml.safe_load(plane.kubectl("get", CRD, "--output", "yaml"))
    (version,) = crd["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


def test_the_commands_work_and_the_crd_is_upgraded(empty: ControlPlane, tmp_path: Path) -> None:
    shell = Shell(empty, tmp_path)
    file = tmp_path / "charts/fairlead/files/crd.yaml"
    new = file.read_text()
    crd = yaml.safe_load(new)
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][FIELD]
    file.write_text(yaml.safe_dump(crd))
    own = "--set logLevel=debug,mlflow.persistence.enabled=false"
    shell.run(f"helm install fairlead charts/fairlead --namespace fairlead --create-namespace {own}")
    assert FIELD not in fields(empty)
    empty.kubectl("create", "namespace", "models")
    model = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "spec": {"model": {"uri": "models:/f/1"}},
    }
    empty.kubectl(
        "create", "-f", "-", stdin=yaml.safe_dump(model | {"metadata": {"name": "fraud", "namespace": "models"}})
    )

    file.write_text(new)
    for command in commands():
        said = shell.run(command)
        if "kubectl diff" in command:
            assert FIELD in said
            assert FIELD not in fields(empty), "it only looks"
        if command.startswith("helm upgrade"):
            assert FIELD in fields(empty)
    assert "logLevel: debug" in (tmp_path / "values.yaml").read_text()
    shell.run(f"helm upgrade fairlead charts/fairlead --namespace fairlead {own} --set crds.enabled=false")
    shell.run("helm uninstall fairlead --namespace fairlead")
    assert FIELD in fields(empty)
    assert "fraud" in empty.kubectl("get", "modeldeployments", "--namespace", "models")
