"""The alerts of a release fire when they should and only then: promtool runs the chart's own rules over histories."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fairlead_operator import api
from fairlead_operator.census import WRONG
from fairlead_operator.desired import signals
from fairlead_operator.desired.surroundings import RUNBOOKS
from tests.chart.promtool import History, check_rules
from tests.chart.rendering import CHART, Helm, pick, render

OPERATOR = 'job="fairlead-operator",namespace="fairlead"'
PREDICTORS = 'job="fairlead/fairlead-predictors"'
MODEL_LABELS = ("alertname", "namespace", "modeldeployment", "severity")
FIRING = f'count by ({", ".join(MODEL_LABELS)}) (ALERTS{{alertstate="firing"}})'
WELL = {
    f"up{{{OPERATOR}}}": "1x120",
    'up{job="fairlead-api",namespace="fairlead"}': "1x120",
    f"fairlead_registry_up{{{OPERATOR}}}": "1x120",
    f"fairlead_queue_depth{{{OPERATOR}}}": "0x120",
    f"fairlead_queue_oldest_seconds{{{OPERATOR}}}": "0x120",
    f"fairlead_predictor_pods{{{OPERATOR}}}": "2x120",
    f'fairlead_reconciles_total{{{OPERATOR},result="ok"}}': "0+5x120",
    f'fairlead_reconciles_total{{{OPERATOR},result="error"}}': "0x120",
    f'up{{{PREDICTORS},namespace="ml",pod="fraud-1"}}': "1x120",
    f'up{{{PREDICTORS},namespace="ml",pod="fraud-2"}}': "1x120",
}
"""Two hours, a sample a minute, of a release with nothing wrong."""


def rule(helm: Helm, *options: str, namespace: str = "fairlead") -> Any:
    settings = ["--set", "monitoring.enabled=true", *options]
    return pick(helm.template(CHART, *settings, namespace=namespace), "PrometheusRule")


@pytest.fixture(scope="module")
def groups(helm: Helm) -> Any:
    return rule(helm)["spec"]["groups"]


def alerts(groups: Any) -> list[Any]:
    return [one for group in groups for one in group["rules"]]


def problem(condition: str, reason: str, values: str, name: str = "fraud", namespace: str = "ml") -> dict[str, str]:
    labels = f'job="fairlead-operator",namespace="{namespace}",name="{name}",condition="{condition}",reason="{reason}"'
    return {f"fairlead_modeldeployment_problem{{{labels}}}": values}


def predictions(status: str, values: str, path: str = "/predict", pod: str = "fraud-1") -> dict[str, str]:
    labels = f'{PREDICTORS},namespace="ml",model_deployment="fraud",pod="{pod}",path="{path}",status="{status}"'
    return {f"http_requests_total{{{labels}}}": values}


def trainings(outcome: str, values: str) -> dict[str, str]:
    labels = f'job="fairlead-api",namespace="fairlead",algorithm="random_forest",outcome="{outcome}"'
    return {f"training_time_seconds_count{{{labels}}}": values}


def of_model(alert: str, severity: str = "warning", name: str = "fraud", namespace: str = "ml") -> str:
    values = (alert, namespace, name, severity)
    return "{" + ",".join(f'{label}="{value}"' for label, value in zip(MODEL_LABELS, values, strict=True)) + "}"


def of_release(alert: str, severity: str = "warning") -> str:
    return f'{{alertname="{alert}",namespace="fairlead",severity="{severity}"}}'


def check(
    groups: Any, directory: Path, changed: dict[str, str | None], quiet: tuple[str, ...], loud: dict[str, set[str]]
) -> None:
    """`changed` is laid over a release that is well (None: no such series). At the times of `quiet` nobody is alerted,
    at those of `loud` exactly so."""
    series = {name: values for name, values in (WELL | changed).items() if values is not None}
    history = History(series)
    for when in quiet:
        history.expect(FIRING, when, {})
    for when, firing in loud.items():
        history.expect(FIRING, when, dict.fromkeys(firing, 1.0))
    history.check(directory, groups)


def test_a_release_that_is_well_alerts_nobody(groups: Any, tmp_path: Path) -> None:
    busy = predictions("200", "0+600x120") | predictions("422", "0+60x120")
    check(groups, tmp_path, busy, ("1m", "30m", "2h"), {})


CASES: dict[str, tuple[dict[str, str], tuple[str, ...], dict[str, set[str]]]] = {
    # series, when nobody is alerted, when who is
    "nothing serves": (
        problem("Ready", "Starting", "_x10 1x10") | problem("Ready", "NoPodAvailable", "_x21 1x50"),
        ("13m",),
        {"16m": {of_model("ModelNoReadyPods", "critical")}, "40m": {of_model("ModelNoReadyPods", "critical")}},
    ),
    "a pod is away for minutes": (problem("Ready", "NoPodAvailable", "_x10 1x3 _x50"), ("12m", "20m"), {}),
    "the operator restarts while nothing serves": (
        problem("Ready", "NoPodAvailable", "1x20 stale 1x20"),
        ("4m",),
        {when: {of_model("ModelNoReadyPods", "critical")} for when in ("20m", "21m", "22m", "25m", "41m")},
    ),
    "a model serves again": (
        problem("Ready", "NoPodAvailable", "1x20 stale"),
        ("24m",),
        {"20m": {of_model("ModelNoReadyPods", "critical")}},
    ),
    "a model is rejected": (
        problem("UpToDate", "ModelCorrupt", "_x10 1x60"),
        ("9m",),
        {"15m": {of_model("ModelRejected")}},
    ),
    "somebody aborted a canary": (problem("UpToDate", "Aborted", "_x10 1x60"), ("15m", "50m"), {}),
    "a roll-out stalls": (
        problem("UpToDate", "ProgressDeadlineExceeded", "_x10 1x60"),
        ("18m",),
        {"25m": {of_model("ModelRolloutStalled")}},
    ),
    "a child is refused beside": (
        problem("Stalled", "ApplyRefused", "_x10 1x60"),
        ("18m",),
        {"25m": {of_model("ModelRolloutStalled")}},
    ),
    "a canary cannot be judged for a moment": (
        problem("UpToDate", "AnalysisUnavailable", "_x10 1x5 _x5 1x5 _x50"),
        ("15m", "26m", "40m"),
        {},
    ),
    "MLflow has no such model": (
        problem("ModelResolved", "ModelNotFound", "_x10 1x60") | problem("UpToDate", "ModelNotFound", "_x10 1x60"),
        ("13m",),
        {"30m": {of_model("ModelNotResolved")}},
    ),
    "nothing scales it": (
        problem("Autoscaled", "AutoscalerMissing", "_x10 1x60"),
        ("18m",),
        {"25m": {of_model("ModelNotAutoscaled")}},
    ),
    "data drift": (problem("DataDrift", "Drifted", "_x10 1x60"), ("18m",), {"25m": {of_model("ModelDrift")}}),
    "models of several namespaces": (
        problem("Ready", "NoPodAvailable", "1x60") | problem("Ready", "NoPodAvailable", "1x60", "churn", "sales"),
        ("3m",),
        {
            "10m": {
                of_model("ModelNoReadyPods", "critical"),
                of_model("ModelNoReadyPods", "critical", "churn", "sales"),
            }
        },
    ),
    "pods refuse predictions": (
        predictions("200", "0+900x60") | predictions("429", "0x10 0+100x60"),
        ("11m",),
        {"30m": {of_model("PredictionQueueSaturated")}},
    ),
    "pods of the release before refuse predictions": (
        predictions("200", "0+900x60") | predictions("503", "0x10 0+100x60"),
        ("11m",),
        {"30m": {of_model("PredictionQueueSaturated")}},
    ),
    "a draining pod refuses some": (
        predictions("200", "0+900x60") | predictions("503", "0x10 20x50"),
        ("12m", "14m", "30m"),
        {},
    ),
    "single requests are refused": (
        predictions("200", "0x60") | predictions("429", "0x10 1x20 2x30"),
        ("12m", "33m"),
        {},
    ),
    "health checks are refused": (
        predictions("200", "0+900x60") | predictions("503", "0x10 0+100x60", "/health/ready"),
        ("30m",),
        {},
    ),
    "the operator is down": (
        {f"up{{{OPERATOR}}}": "1x10 0x60"},
        ("14m",),
        {"20m": {of_release("FairleadOperatorDown", "critical")}},
    ),
    "the operator restarts": ({f"up{{{OPERATOR}}}": "1x10 0x2 1x60"}, ("12m", "30m"), {}),
    "the queue stands still": (
        {
            f"fairlead_queue_depth{{{OPERATOR}}}": "0x10 3x60",
            f'fairlead_reconciles_total{{{OPERATOR},result="ok"}}': "0+5x10 50x60",
        },
        ("15m",),
        {"25m": {of_release("FairleadOperatorNotReconciling")}},
    ),
    "a key waits for long": (
        {f"fairlead_queue_oldest_seconds{{{OPERATOR}}}": "0x10 0+60x60"},
        ("19m",),
        {"30m": {of_release("FairleadOperatorNotReconciling")}},
    ),
    "every reconcile fails": (
        {
            f'fairlead_reconciles_total{{{OPERATOR},result="ok"}}': "7x70",
            f'fairlead_reconciles_total{{{OPERATOR},result="error"}}': "0x10 0+2x60",
        },
        ("14m",),
        {"25m": {of_release("FairleadOperatorNotReconciling")}},
    ),
    "some reconciles fail": (
        {f'fairlead_reconciles_total{{{OPERATOR},result="error"}}': "0x10 0+2x60"},
        ("14m", "40m"),
        {},
    ),
    "nothing happens at all": (
        {f'fairlead_reconciles_total{{{OPERATOR},result="ok"}}': "50x120"},
        ("30m", "2h"),
        {},
    ),
    "MLflow is away": (
        {f"fairlead_registry_up{{{OPERATOR}}}": "1x10 0x60"},
        ("14m",),
        {"20m": {of_release("FairleadMLflowUnreachable")}},
    ),
    "a predictor is not scraped": (
        {f"fairlead_predictor_pods{{{OPERATOR}}}": "2x10 3x60"},
        ("24m",),
        {"30m": {of_release("FairleadScrapeMissing")}},
    ),
    "a predictor does not answer": (
        {f'up{{{PREDICTORS},namespace="ml",pod="fraud-2"}}': "1x10 0x60"},
        ("24m",),
        {"30m": {of_release("FairleadScrapeMissing")}},
    ),
    "pods come and go": (
        {f"fairlead_predictor_pods{{{OPERATOR}}}": "2x10 5x5 2x60"},
        ("14m", "30m"),
        {},
    ),
    "every training fails": (
        trainings("failed", "0x10 1x5 2x5 3x60") | trainings("succeeded", "7x120"),
        ("15m", "20m"),
        {"24m": {of_release("TrainingFailed")}},
    ),
    "some trainings fail": (
        trainings("failed", "0x10 1x5 2x5 3x60") | trainings("succeeded", "7x12 8x100"),
        ("24m", "40m"),
        {},
    ),
    "the API is down": (
        {'up{job="fairlead-api",namespace="fairlead"}': "1x10 0x60"},
        ("24m",),
        {"30m": {of_release("FairleadScrapeMissing")}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_who_is_alerted_and_when(case: str, groups: Any, tmp_path: Path) -> None:
    changed, quiet, loud = CASES[case]
    check(groups, tmp_path, dict(changed), quiet, loud)


def test_every_alert_has_a_case_in_which_it_fires(groups: Any) -> None:
    fired = " ".join(str(loud) for _, _, loud in CASES.values())
    assert {alert["alert"] for alert in alerts(groups)} == set(re.findall(r'alertname="(\w+)"', fired))


def test_no_predictor_scraped_at_all_is_found_and_none_wanted_is_fine(groups: Any, tmp_path: Path) -> None:
    gone: dict[str, str | None] = {name: None for name in WELL if "predictors" in name}
    check(groups, tmp_path, gone, ("14m",), {"20m": {of_release("FairleadScrapeMissing")}})
    check(groups, tmp_path, gone | {f"fairlead_predictor_pods{{{OPERATOR}}}": "0x60"}, ("20m", "50m"), {})


def test_no_target_at_all_is_an_operator_that_is_down(groups: Any, tmp_path: Path) -> None:
    gone: dict[str, str | None] = {name: None for name in WELL if "fairlead-operator" in name}
    check(groups, tmp_path, gone, ("3m",), {"10m": {of_release("FairleadOperatorDown", "critical")}})


def test_two_releases_alert_about_their_own(helm: Helm, tmp_path: Path) -> None:
    """The same history, seen with the rules of a release in another namespace: its own operator is not there."""
    others = rule(helm, "--set", "fullnameOverride=team-b,api.enabled=false", namespace="team-b")["spec"]["groups"]
    broken = WELL | problem("Ready", "NoPodAvailable", "1x60") | {f"fairlead_registry_up{{{OPERATOR}}}": "0x60"}
    down = '{alertname="FairleadOperatorDown",namespace="team-b",severity="critical"}'
    History(broken).expect(FIRING, "30m", {down: 1}).check(tmp_path, others)


def test_every_alert_is_explained(groups: Any, tmp_path: Path) -> None:
    check_rules(groups, tmp_path)
    for alert in alerts(groups):
        assert alert["labels"]["severity"] in ("critical", "warning")
        annotations = alert["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url"}
        assert annotations["summary"].endswith(".")
        assert annotations["runbook_url"] == f"{RUNBOOKS}/{alert['alert']}.md"
        assert "<" not in json.dumps(alert).replace(">", ""), "a matcher was not filled in"


def test_what_the_rules_repeat_of_the_operator_is_right(groups: Any) -> None:
    text = " ".join(alert["expr"] for alert in alerts(groups))
    paths = set(re.findall(r'path=~"([^"]*)"', text))
    assert paths == {signals.PATHS}
    rejections = {"AnalysisFailed", "LoadFailed", *api.FINAL_REASONS}
    for reasons in re.findall(r'reason[=!]~"([^"]*)"', text):
        assert set(reasons.split("|")) - {"Aborted"} == rejections
    conditions = {name for found in re.findall(r'condition=~?"([^"]*)"', text) for name in found.split("|")}
    assert conditions == set(WRONG), "whatever can be wrong is alerted about"


def test_alerts_can_be_left_out(helm: Helm) -> None:
    made = rule(helm, "--set", "monitoring.rules.disabled={ModelDrift,FairleadScrapeMissing}")
    names = {alert["alert"] for alert in alerts(made["spec"]["groups"])}
    assert not {"ModelDrift", "FairleadScrapeMissing"} & names
    assert len(names) == 10
    refused = helm.refused(CHART, "--set", "monitoring.rules.disabled={ModelDrfit}")
    assert "/monitoring/rules/disabled/0" in refused.stderr
    for off in (
        "monitoring.rules.enabled=false",
        "monitoring.enabled=false",
        "operator.enabled=false,api.enabled=false",
    ):
        manifests = helm.template(CHART, "--set", f"monitoring.enabled=true,{off}")
        assert not [one for one in manifests if one["kind"] == "PrometheusRule"]


def test_the_schema_knows_every_alert(groups: Any) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]["disabled"]["items"]["enum"]
    assert sorted(known) == sorted({alert["alert"] for alert in alerts(groups)})


def test_labels_and_runbooks_are_the_installations_own(helm: Helm) -> None:
    made = rule(helm, "--set", "monitoring.labels.release=monitoring,monitoring.runbookUrl=https://wiki.example.org/r")
    assert made["metadata"]["labels"]["release"] == "monitoring"
    urls = {alert["annotations"]["runbook_url"] for alert in alerts(made["spec"]["groups"])}
    assert "https://wiki.example.org/r/ModelDrift.md" in urls
    assert pick(render(helm, "monitoring"), "PrometheusRule")["metadata"]["name"] == "fairlead"
