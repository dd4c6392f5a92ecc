"""Each alert has a page that says what to do, and what the pages say to type can be typed."""

import re

import promql_parser
import pytest

from fairlead_operator import contract
from fairlead_operator.drift import OVER_PSI
from fairlead_operator.kinds import CHILDREN
from tests.chart.rendering import CHART, ROOT, Helm, pick
from tests.chart.test_alerts import groups
from tests.chart.test_alerts import rules as slo_rules
from tests.chart.test_dashboards import selectors
from tools import catalogue

PAGES = {path.stem: path for path in sorted((ROOT / "docs/runbooks").glob("*.md"))}
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMES = {
    "modeldeployment",
    "modeldeployments",
    "pod",
    "pods",
    "pvc",
    "hpa",
    "node",
    "events",
    "endpointslices",
    "podmonitor",
    "servicemonitor",
    "prometheus",
    "networkpolicy",
    *(kind.plural for kind in CHILDREN.values()),
    *(kind.kind.lower() for kind in CHILDREN.values()),
}
"""What kubectl calls kinds that exist."""
VERBS = {"get", "describe", "delete", "annotate", "scale", "top"}
OTHER_VERBS = {"logs", "auth", "api-versions", "drain"}
SERIES = {name for family in (*catalogue.service(), *catalogue.operator()) for name in family.series}
BROUGHT = {"up", contract.METRIC_PREDICTION_DRIFT, contract.METRIC_DRIFT_ROWS}
"""By Prometheus itself; by the server once it measures its answers."""


def blocks(page: str, language: str) -> list[str]:
    """The lines of a page's blocks of one language."""
    found = [text for name, text in BLOCKS.findall(PAGES[page].read_text()) if name == language]
    return [line for text in found for line in text.splitlines() if line.strip()]


def commands(page: str) -> list[str]:
    """Those in blocks and those within sentences."""
    text = BLOCKS.sub("", PAGES[page].read_text())
    return [*blocks(page, "sh"), *re.findall(r"`(kubectl [^`]*)`", text)]


def test_each_alert_has_its_page_and_each_page_an_alert(helm: Helm) -> None:
    release = pick(helm.template(CHART, "--set", "monitoring.enabled=true"), "PrometheusRule")
    named = {one["alert"] for group in release["spec"]["groups"] for one in group["rules"]}
    named |= {one["alert"] for one in slo_rules(groups()) if "alert" in one}
    assert named == PAGES.keys()


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_of_one_form(page: str) -> None:
    text = PAGES[page].read_text()
    assert text.startswith(f"# {page}\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:2] == ["What is going on", "What it means, and what to do"]
    assert blocks(page, "sh")
    assert blocks(page, "promql")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGES[page].parent / link).is_file(), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_queries_parse_and_read_what_is_exported(page: str) -> None:
    for query in blocks(page, "promql"):
        read = {selector.name for selector in selectors(promql_parser.parse(query))}
        assert read, query
        assert read <= SERIES | BROUGHT, f"{page}: nobody exports {read - SERIES - BROUGHT}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_kinds_that_exist(page: str) -> None:
    for command in commands(page):
        assert command.startswith("kubectl "), command
        verb, *rest = command.split()[1:]
        assert verb in VERBS | OTHER_VERBS, command
        if verb in VERBS and not rest[0].startswith("--raw"):
            assert set(rest[0].split(",")) <= NAMES, command
        if "NAME " in f"{command} " and verb in VERBS:
            assert "--namespace NAMESPACE" in command, command


def test_labels_in_commands_are_on_the_objects(helm: Helm) -> None:
    """Of the release: components; of models: what the operator puts there."""
    manifests = helm.template(CHART, "--set", "monitoring.enabled=true")
    components = {one["metadata"].get("labels", {}).get("app.kubernetes.io/component") for one in manifests}
    for page in PAGES:
        for component in re.findall(r"app\.kubernetes\.io/component=(\w+)", PAGES[page].read_text()):
            assert component in components, page


def test_the_limits_in_the_texts_are_those_of_the_operator() -> None:
    text = (CHART / "alerts.yaml").read_text() + PAGES["ModelDrift"].read_text()
    assert set(re.findall(r"above (0\.\d+)", text)) == {str(contract.DRIFT_PSI_THRESHOLD), str(OVER_PSI)}
