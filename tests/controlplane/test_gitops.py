"""examples/gitops on a real API server: what kustomize renders is taken, served, and differs in nothing from git."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane.conftest import ROOT
from tools.localcluster.controlplane import ControlPlane

EXAMPLES = ROOT / "examples/gitops"
ENVIRONMENTS = ("staging", "production")


def rendered(plane: ControlPlane, directory: Path) -> str:
    return plane.kubectl("kustomize", str(directory))


def resource(plane: ControlPlane, environment: str) -> Any:
    (found,) = yaml.safe_load_all(rendered(plane, EXAMPLES / environment))
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_server_takes_it_and_git_differs_in_nothing(
    plane: ControlPlane, environment: str, tmp_path: Path
) -> None:
    plane.kubectl("create", "namespace", f"models-{environment}")
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered(plane, EXAMPLES / environment))
    plane.kubectl("apply", "--server-side", "--validate=strict", "-f", str(file))
    assert plane.kubectl("diff", "--server-side", "-f", str(file)) == ""


def test_staging_follows_an_alias_and_production_names_a_version(plane: ControlPlane) -> None:
    uris = {environment: resource(plane, environment)["spec"]["model"]["uri"] for environment in ENVIRONMENTS}
    assert re.fullmatch(r"models:/fraud@\w+", uris["staging"])
    assert re.fullmatch(r"models:/fraud/\d+", uris["production"])


def test_a_promotion_is_the_change_of_one_line(plane: ControlPlane, tmp_path: Path) -> None:
    """The diff of the README, applied to a copy as `git apply` would, changes the version and nothing else."""
    before = resource(plane, "production")
    shutil.copytree(EXAMPLES, tmp_path / "gitops")
    readme = (EXAMPLES / "README.md").read_text()
    (old,) = re.findall(r"^ *-( +uri: .*)$", readme, re.MULTILINE)
    (new,) = re.findall(r"^ *\+( +uri: .*)$", readme, re.MULTILINE)
    model = tmp_path / "gitops/production/model.yaml"
    assert model.read_text().count(old) == 1
    model.write_text(model.read_text().replace(old, new))
    (after,) = yaml.safe_load_all(rendered(plane, tmp_path / "gitops/production"))
    assert after["spec"]["model"] != before["spec"]["model"]
    assert after | {"spec": after["spec"] | {"model": before["spec"]["model"]}} == before


def test_argo_cd_and_flux_are_led_to_every_environment() -> None:
    applications = list(yaml.safe_load_all((EXAMPLES / "argocd/applications.yaml").read_text()))
    found = {one["spec"]["source"]["path"]: one["spec"]["destination"]["namespace"] for one in applications}
    assert found == {environment: f"models-{environment}" for environment in ENVIRONMENTS}

    source, *kustomizations = yaml.safe_load_all((EXAMPLES / "flux/kustomizations.yaml").read_text())
    assert {one["spec"]["path"].removeprefix("./") for one in kustomizations} == set(ENVIRONMENTS)
    assert all(one["spec"]["wait"] for one in kustomizations), "a rejection would not be told"
    assert {one["spec"]["sourceRef"]["name"] for one in kustomizations} == {source["metadata"]["name"]}
