"""The chart without Helm: what it renders, applied by kubectl to a real API server, as GitOps tools do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.rendering import CHART, PROFILES, find_helm
from tools.localcluster.controlplane import ControlPlane


@pytest.fixture(params=["default", "production", "openshift"])
def profile(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A profile with a namespace of its name."""
    name = str(request.param)
    plane.kubectl("create", "namespace", f"chart-{name}")
    yield name
    plane.kubectl("delete", "namespace", f"chart-{name}", "--wait=false")


def test_what_is_rendered_is_taken_and_the_same_again_changes_nothing(
    plane: ControlPlane, tmp_path: Path, profile: str
) -> None:
    namespace = f"chart-{profile}"
    values = ("--values", str(PROFILES[profile]), "--set", "monitoring.enabled=false")  # kinds that are not there
    done = find_helm(4).run("template", f"r-{profile}", str(CHART), "--namespace", namespace, "--no-hooks", *values)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "rendered.yaml"
    file.write_text(done.stdout)
    apply = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "-n", namespace, "-f", str(file))
    assert "serverside-applied" in plane.kubectl(*apply)
    generations = ("get", "deployments", "-n", namespace, "--output=jsonpath={.items[*].metadata.generation}")
    before = plane.kubectl(*generations)
    assert before
    plane.kubectl(*apply)
    assert plane.kubectl(*generations) == before
