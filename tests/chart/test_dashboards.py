"""Every dashboard reads what exists, can be used without edits, and is laid out whole."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from tests.chart.rendering import Helm, pick, render
from tools import catalogue, dashboards

MLFLOW = {
    "mlflow_http_request_total": {"method", "status"},
    "mlflow_http_request_duration_seconds_bucket": {"method", "status", "path"},
}
"""Of prometheus-flask-exporter in MLflow, with `mlflow.metrics.enabled`."""
PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "namespace", "modeldeployment", "severity"}}
SCRAPED = {*catalogue.SCRAPED, "le", "job", "instance", "cluster"}
"""Labels that are not the programs' own; `cluster` is of whoever collects the samples of several."""
GROUPED = re.compile(r"\b(?:by|on|group_left) *\(([^)]*)\)")


def series() -> dict[str, set[str]]:
    """Every series there can be → its own labels."""
    ours = (*catalogue.service(), *catalogue.operator(), *catalogue.recorded())
    return {name: set(family.labels) for family in ours for name in family.series} | MLFLOW | PROMETHEUS


def selectors(expression: Any) -> Iterator[Any]:
    """Every vector selector in a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for attribute in ("vector_selector", "expr", "lhs", "rhs", "param"):
        if (inner := getattr(expression, attribute, None)) is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or []:
        yield from selectors(inner)


def asked(dashboard: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(where, PromQL, legend) of panels, annotations and variables."""
    values = {name: "x" for name in dashboards.variables(dashboard)} | dashboards.constants(dashboard)
    for query in dashboards.queries(dashboard):
        yield query.where, query.filled(values), query.legend
    for variable in dashboards.variables(dashboard).values():
        if variable["type"] == "query":
            query, label = dashboards.looked_up(variable)
            yield query.where, f"count by ({label}) ({query.filled(values)})", ""


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_every_query_parses_and_reads_series_that_exist(path: Path) -> None:
    known, read = series(), set()
    for where, query, legend in asked(dashboards.read(path)):
        labels: set[str] = set(SCRAPED)
        for selector in selectors(promql_parser.parse(query)):
            assert selector.name in known, f"{where}: nobody exports {selector.name}"
            labels |= known[selector.name]
            wanted = {matcher.name for matcher in selector.matchers.matchers}
            missing = wanted - known[selector.name] - SCRAPED
            assert not missing, f"{where}: {selector.name} has no label {missing}"
            read.add(selector.name)
        for group in GROUPED.findall(query):
            assert {name.strip() for name in group.split(",") if name.strip()} <= labels, f"{where}: by ({group})"
        assert set(re.findall(r"{{ *(\w+) *}}", legend)) <= labels, f"{where}: {legend}"
    assert len(read) >= 5, "the walk over parsed queries finds too little"


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_every_query_is_of_the_chosen_cluster(path: Path) -> None:
    """All of them by default, which is also every series without such a label; namespaces of two are told apart."""
    dashboard = dashboards.read(path)
    variable = dashboards.variables(dashboard)["cluster"]
    assert variable["includeAll"]
    assert re.fullmatch(variable["allValue"], "")
    for where, query, _ in asked(dashboard):
        for selector in selectors(promql_parser.parse(query)):
            assert where == "cluster" or 'cluster=~"x"' in str(selector), f"{where}: {selector}"
    for asking in dashboards.queries(dashboard):
        for group in GROUPED.findall(asking.expression):
            assert ("namespace" in group) <= ("cluster" in group), f"{asking.where}: by ({group})"


def test_what_is_recorded_is_drawn() -> None:
    drawn = " ".join(
        query.expression for path in dashboards.FILES for query in dashboards.queries(dashboards.read(path))
    )
    for family in catalogue.recorded():
        assert family.name in drawn


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_dashboards_take_their_data_source_from_a_variable(path: Path) -> None:
    dashboard = dashboards.read(path)
    asking = [
        *(panel for panel in dashboards.panels(dashboard) if panel["type"] != "row"),
        *(target for panel in dashboards.panels(dashboard) for target in panel.get("targets", [])),
        *(variable for variable in dashboards.variables(dashboard).values() if variable["type"] == "query"),
        *dashboard["annotations"]["list"],
    ]
    assert {one["datasource"]["uid"] for one in asking} == {"${datasource}"}
    assert dashboard["uid"] == f"fairlead-{path.stem}"
    assert "fairlead" in dashboard["tags"]


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_panels_are_explained_and_do_not_overlap(path: Path) -> None:
    dashboard = dashboards.read(path)
    found = list(dashboards.panels(dashboard))
    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["type"] == "row" or panel["description"].endswith(".") for panel in found)
    places = [panel["gridPos"] for panel in found]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_links_lead_to_dashboards_and_variables_that_exist() -> None:
    found = {dashboard["uid"]: dashboard for dashboard in map(dashboards.read, dashboards.FILES)}
    links = set(re.findall(r'"url": "(/d/[^"]+)"', json.dumps(list(found.values()))))
    assert links
    for link in links:
        uid = link.removeprefix("/d/").partition("?")[0]
        assert set(re.findall(r"var-(\w+)=", link)) <= dashboards.variables(found[uid]).keys()


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_the_dashboards_config_map_holds_the_file(helm: Helm, path: Path) -> None:
    config_map = pick(render(helm, "monitoring"), "ConfigMap", f"fairlead-dashboard-{path.stem}")
    assert json.loads(config_map["data"][f"fairlead-{path.name}"]) == dashboards.read(path)
