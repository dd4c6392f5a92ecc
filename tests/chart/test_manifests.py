"""Samples, skaffold.yaml, dashboards and generated files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import alerts
from fairlead_operator.desired.surroundings import Surroundings
from fairlead_service.observability.metrics import Metrics
from tests.chart.rendering import CHART, ROOT, Helm, crd_validator, documents, pick, render
from tools import sync_charts

SAMPLES = sorted((ROOT / "manifests/samples").glob("*.yaml"))
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fit_the_crd(path: Path) -> None:
    for manifest in documents(path):
        if manifest["kind"] == "ModelDeployment":
            assert manifest["metadata"]["namespace"] == "models"
            assert not [error.message for error in crd_validator().iter_errors(manifest)]
        else:
            assert manifest["kind"] == "Namespace"


def test_the_full_sample_has_every_field() -> None:
    crd = yaml.safe_load((ROOT / "manifests/crd.yaml").read_text())
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    (sample,) = documents(ROOT / "manifests/samples/full.yaml")
    assert sample["spec"].keys() == fields.keys() - {"autoscaling"}, "which takes the place of replicas"
    (scaled,) = documents(ROOT / "manifests/samples/autoscaled.yaml")
    assert scaled["spec"]["autoscaling"]


def test_a_mistake_in_a_sample_would_be_found() -> None:
    (sample,) = documents(ROOT / "manifests/samples/breast-cancer.yaml")
    sample["spec"]["replica"] = sample["spec"].pop("replicas")
    assert list(crd_validator().iter_errors(sample))


def test_the_samples_namespace_enforces_the_restricted_standard() -> None:
    (namespace,) = documents(ROOT / "manifests/samples/namespace.yaml")
    assert namespace["metadata"]["name"] == "models"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_skaffold_sets_values_that_exist(helm: Helm) -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    (release,) = config["deploy"]["helm"]["releases"]
    images = {artifact["image"]: artifact for artifact in config["build"]["artifacts"]}
    values = []
    for key, template in release["setValueTemplates"].items():
        component, _, field = key.partition(".image.")
        variable = {"registry": "DOMAIN", "repository": "REPO_NO_DOMAIN", "tag": "TAG"}[field]
        assert template == f"{{{{.IMAGE_{variable}_fairlead_{component}}}}}"
        assert f"fairlead-{component}" in images
        values.append(
            f"{key}={'' if field == 'registry' else f'fairlead-{component}' if field == 'repository' else 'dev'}"
        )
    manifests = helm.template(CHART, "--set", ",".join(values))
    for forward in config["portForward"]:
        ports = pick(manifests, "Service", forward["resourceName"])["spec"]["ports"]
        assert forward["port"] in [port["port"] for port in ports]
    used = {
        container["image"]
        for manifest in manifests
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    assert used == {f"{image}:dev" for image in images}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where, PromQL) with Grafana's variables filled in."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield panel["title"], _filled(target["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], _filled(re.sub(r"label_values\((.*), *\w+\)$", r"\1", variable["definition"]))


def _filled(expression: str) -> str:
    return re.sub(r"\$\w+", "x", expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))


def selectors(expression: Any) -> Iterator[Any]:
    """Every vector selector in a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for attribute in ("vector_selector", "expr", "lhs", "rhs", "param"):
        if (inner := getattr(expression, attribute, None)) is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or []:
        yield from selectors(inner)


def exported() -> dict[str, set[str]]:
    """Series the service exports → the labels it gives them."""
    metrics = Metrics()
    metrics.request("GET", "/health", 200, 0.1, None)  # its series are made as they are needed
    registry = metrics.registry
    collectors = registry._collector_to_names
    found = {name: set(getattr(metric, "_labelnames", ())) for metric, names in collectors.items() for name in names}
    for family in registry.collect():  # process and platform collectors name their series only here
        for sample in family.samples:
            found.setdefault(sample.name, set(sample.labels))
    return found


def recorded() -> dict[str, set[str]]:
    """Series that the operator has recorded for a model with service levels → their labels."""
    promised = ModelDeployment.model_validate(
        {
            "metadata": {"name": "fraud", "namespace": "ml", "uid": "1"},
            "spec": {
                "model": {"uri": "models:/fraud/1"},
                "slo": {"successPercent": "99.5", "latencyMilliseconds": 250},
            },
        }
    )
    assert promised.spec.slo is not None
    rule = alerts.build(promised, promised.spec.slo, Surroundings())
    assert rule is not None
    rules = [rule for group in rule["spec"]["groups"] for rule in group["rules"]]
    return {rule["record"]: set(rule["labels"]) for rule in rules if "record" in rule}


SCRAPED = {"namespace", "pod", "model_deployment", "le", "job", "instance"}
"""Labels that scraping adds."""


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_parses_and_reads_series_that_exist(path: Path) -> None:
    series = exported() | recorded()
    read = set()
    for where, query in queries(json.loads(path.read_text())):
        for selector in selectors(promql_parser.parse(query)):
            name = selector.name
            assert name in series, f"{where}: nobody exports {name}"
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= series[name] | SCRAPED, f"{where}: {name} has no label {labels - series[name] - SCRAPED}"
            read.add(name)
    assert len(read) >= 10, "the walk over parsed queries finds too little"
    assert recorded().keys() <= read, "what is recorded is drawn"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_take_their_data_source_from_a_variable(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    for panel in panels(dashboard):
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(set(ids)) == len(ids)
    assert dashboard["uid"] == f"fairlead-{path.stem}"


def test_the_dashboards_config_map_holds_the_file(helm: Helm) -> None:
    config_map = pick(render(helm, "monitoring"), "ConfigMap", "fairlead-dashboard-model")
    assert json.loads(config_map["data"]["fairlead-model.json"]) == json.loads(
        (ROOT / "dashboards/model.json").read_text()
    )


def test_generated_files_are_in_sync(capsys: pytest.CaptureFixture[str]) -> None:
    assert sync_charts.main(["--check"]) == 0, capsys.readouterr().out


def test_check_finds_what_is_out_of_date_and_sync_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in sync_charts.generated(ROOT).items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    for source in ("manifests/crd.yaml", "manifests/operator-rules.yaml", "manifests/argocd/health.lua"):
        (tmp_path / source).write_text((ROOT / source).read_text())
    for chart in sync_charts.CHARTS:
        (tmp_path / chart / "values.yaml").write_text((ROOT / chart / "values.yaml").read_text())
    (tmp_path / "manifests/crd.yaml").write_text("changed: true\n")
    orphan = tmp_path / "charts/fairlead/files/dashboards/model.json"
    assert sync_charts.main(["--check"], tmp_path) == 1
    assert "files/crd.yaml is out of date" in capsys.readouterr().out
    assert orphan.exists()
    assert sync_charts.main([], tmp_path) == 0
    assert (tmp_path / "charts/fairlead/files/crd.yaml").read_text() == "changed: true\n"
    assert not orphan.exists(), "a copy whose source is gone goes too"
    assert sync_charts.main(["--check"], tmp_path) == 0


def test_values_tables_take_wrapped_comments_and_nested_defaults() -> None:
    text = 'a:\n  # -- One\n  # two.\n  b: {c: 1}\n# not described\nd: 2\n# -- Empty.\ne: ""\n'
    assert list(sync_charts.described_values(text)) == [
        sync_charts.Value("a.b", "{c: 1}", "One two."),
        sync_charts.Value("e", '""', "Empty."),
    ]
