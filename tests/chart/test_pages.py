"""The installation pages do what they promise: their commands are run as they are written, on a fresh checkout."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.chart.pages import Installation, commands
from tests.chart.rendering import CHART, ROOT, STACK, Helm, environment

STACK_PAGE = "charts/fairlead-stack/README.md"
CHART_PAGE = "charts/fairlead/README.md"
PAGES = {
    "README.md": (),
    CHART_PAGE: (),
    STACK_PAGE: (),
    "docs/observability.md": (STACK_PAGE,),
    "docs/webhooks.md": (CHART_PAGE,),
    "charts/fairlead-stack/values-production.yaml": (STACK_PAGE,),
    "charts/fairlead-stack/values-trial.yaml": (STACK_PAGE,),
}
"""Pages with commands of Helm, and the pages that each wants followed first."""
MONITORED = (STACK_PAGE, "docs/observability.md")
"""Pages after which Prometheus watches Fairlead."""
Begin = Callable[[], Installation]


@pytest.fixture
def begin(helm: Helm, tmp_path: Path) -> Begin:
    """A checkout with the charts, in which nothing was downloaded or installed yet."""

    def _begin() -> Installation:
        for chart in (CHART, STACK):
            without = shutil.ignore_patterns("charts", "Chart.lock")
            shutil.copytree(chart, tmp_path / chart.relative_to(ROOT), ignore=without)
        return Installation(helm, tmp_path)

    return _begin


def watched(installation: Installation) -> None:
    """Asserts that models can be scaled, canaries be judged on traffic, drift be read and traces be sent."""
    given = {}
    for (kind, _, name), manifest in installation.objects.items():
        if kind == "Deployment" and name == "fairlead-operator":
            given = environment(manifest["spec"]["template"]["spec"]["containers"][0])
    assert installation.reaches(given["FAIRLEAD_OPERATOR_PROMETHEUS_URL"]), given
    assert installation.reaches(given["OTEL_EXPORTER_OTLP_ENDPOINT"]), given
    kinds = {kind for kind, _, _ in installation.objects}
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= kinds
    assert any(name.startswith("fairlead-dashboard") for _, _, name in installation.objects)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_installs_what_it_promises(begin: Begin, page: str) -> None:
    installation = begin()
    for earlier in PAGES[page]:
        installation.follow((ROOT / earlier).read_text())
    assert installation.follow((ROOT / page).read_text())
    assert not installation.missing_secrets()
    if page in MONITORED:
        watched(installation)


def test_every_page_with_an_installation_is_followed() -> None:
    tested = {*PAGES, "docs/upgrading.md"}  # that one on a real API server: tests/controlplane/test_upgrading.py
    for suffix in ("md", "yaml"):
        for folder in ("docs", "charts", "examples", "manifests"):
            for path in (ROOT / folder).rglob(f"*.{suffix}"):
                if any(words[0] == "helm" for words in commands(path.read_text())):
                    assert str(path.relative_to(ROOT)) in tested, path


@pytest.mark.parametrize(
    ("release", "options"),
    [
        ("monitoring", ""),
        ("observability", "--set jaeger.fullnameOverride=traces"),
        ("monitoring", "--values charts/fairlead-stack/values-production.yaml"),
        ("monitoring", "--set prometheus-adapter.enabled=true,keda.enabled=false"),
    ],
)
def test_the_stacks_notes_install_fairlead_beside_it(begin: Begin, release: str, options: str) -> None:
    installation = begin()
    secret = f"kubectl --namespace {release} create secret generic grafana-admin"
    stack = f"helm install {release} charts/fairlead-stack --namespace {release} {options}"
    installation.follow(f"{secret}\nhelm dependency update charts/fairlead-stack\n{stack}")
    assert installation.follow(installation.notes) == 1
    assert not installation.missing_secrets()
    watched(installation)


@pytest.mark.parametrize(
    "values", ["", "--values charts/fairlead/ci/production-values.yaml", "--set api.enabled=false"]
)
def test_the_charts_notes_name_what_is_there(begin: Begin, values: str) -> None:
    installation = begin()
    installation.follow(f"helm install ml charts/fairlead --namespace models {values}")
    assert "kubectl --namespace models port-forward service/ml-fairlead-mlflow" in installation.notes
    assert installation.follow(installation.notes) == 0


def test_fluxs_release_is_watched_too(begin: Begin) -> None:
    """manifests/flux installs with values of its own, and the namespaces are those that it names."""
    spec = yaml.safe_load((ROOT / "manifests/flux/release/helmrelease.yaml").read_text())["spec"]
    installation = begin()
    installation.follow((ROOT / STACK_PAGE).read_text())
    (installation.checkout / "flux.yaml").write_text(yaml.safe_dump(spec["values"]))
    chart, namespace = spec["chart"]["spec"]["chart"], spec["targetNamespace"]
    installation.follow(
        f"helm upgrade --install {spec['releaseName']} {chart} --namespace {namespace} --values flux.yaml"
    )
    watched(installation)


def test_a_page_that_leaves_something_out_is_found(begin: Begin) -> None:
    installation = begin()
    with pytest.raises(AssertionError, match="missing in charts/ directory"):
        installation.follow("helm install monitoring charts/fairlead-stack --namespace monitoring")
    installation.follow(
        "helm install fairlead charts/fairlead --namespace fairlead --set operator.loadKey.secretName=key"
    )
    assert installation.missing_secrets() == {("fairlead", "key")}
    with pytest.raises(KeyError):
        watched(installation)
    with pytest.raises(KeyError):
        installation.follow("kubectl --namespace fairlead port-forward service/fairlead-web 8000")


def test_commands_are_read_from_pages_notes_and_comments() -> None:
    page = "```sh\nhelm install a b \\\n  --set c=d   # as it is\n```\n#  helm lint b\n  $ kubectl get pods\na `helm`"
    assert list(commands(page)) == [
        ["helm", "install", "a", "b", "--set", "c=d"],
        ["helm", "lint", "b"],
        ["kubectl", "get", "pods"],
    ]
