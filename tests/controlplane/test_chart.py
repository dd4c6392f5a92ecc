"""The chart without Helm: what it renders, applied by kubectl to a real API server, as GitOps tools do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.rendering import CHART, PROFILES, find_helm
from tests.controlplane.cluster import await_true
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
    without = ("--set", "monitoring.enabled=false,monitoring.namespace=")  # kinds and a namespace that are not there
    values = ("--values", str(PROFILES[profile]), *without)
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


def test_who_may_edit_a_namespace_may_edit_its_models(plane: ControlPlane, namespace: str) -> None:
    """The controller manager puts the chart's roles into the cluster's own."""
    rendered = find_helm(4).template(CHART, "--set", "operator.enabled=false", release="rights", namespace=namespace)
    roles = [one for one in rendered if one["kind"] == "ClusterRole"]
    plane.kubectl(
        "apply", "--server-side", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": roles})
    )
    for role in ("edit", "view"):
        plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=who-{role}s", "-n", namespace)

    def may(role: str, verb: str, subresource: str = "") -> bool:
        wanted = {"group": "fairlead.dev", "resource": "modeldeployments", "verb": verb, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"who-{role}s", "resourceAttributes": wanted | {"subresource": subresource}},
        }
        answer = plane.kubectl("create", "-f", "-", "--output=jsonpath={.status.allowed}", stdin=json.dumps(review))
        return answer == "true"

    await_true(lambda: may("edit", "patch") and may("view", "get"), "the roles are aggregated")
    assert may("edit", "update", "scale")
    assert may("edit", "get")
    assert may("view", "watch", "status")
    assert not may("edit", "patch", "status")
    assert not may("view", "patch")
    assert not may("view", "update", "scale")
