"""The alerts of a model with service levels fire when they should and only then: promtool runs them over traffic."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import alerts
from fairlead_operator.desired.surroundings import RUNBOOKS, Surroundings
from tests.chart.promtool import History, check_rules
from tests.chart.rendering import ROOT, strict

FIRING = 'sort(count by (alertname, severity, window) (ALERTS{alertstate="firing"}))'
FAST, SLOW, TICKET, SLOWEST = (
    f'severity="{severity}",window="{window}"'
    for severity, window in (("critical", "1h"), ("critical", "6h"), ("warning", "1d"), ("warning", "3d"))
)
ERRORS, LATE = "ModelErrorBudgetBurn", "ModelLatencyBudgetBurn"


def groups(success: str | None = "99.5", latency: int | None = 250, around: Surroundings | None = None) -> Any:
    slo = {"successPercent": success, "latencyMilliseconds": latency}
    resource = ModelDeployment.model_validate(
        {
            "metadata": {"name": "fraud", "namespace": "ml", "uid": "1"},
            "spec": {
                "model": {"uri": "models:/fraud/1"},
                "slo": {name: value for name, value in slo.items() if value is not None},
            },
        }
    )
    assert resource.spec.slo is not None
    rule = alerts.build(resource, resource.spec.slo, around or Surroundings())
    assert rule is not None
    return rule["spec"]["groups"]


def rules(made: Any) -> list[Any]:
    return [rule for group in made for rule in group["rules"]]


def requests(values: str, status: str = "200", pod: str = "a", model: str = "fraud") -> dict[str, str]:
    labels = f'namespace="ml",model_deployment="{model}",pod="{pod}",method="POST",path="/predict",status="{status}"'
    return {f"http_requests_total{{{labels}}}": values}


def answers(all_of_them: str, within: str, le: str = "0.25") -> dict[str, str]:
    labels = 'namespace="ml",model_deployment="fraud",pod="a",method="POST",path="/predict",status="200"'
    return {
        f"http_request_duration_seconds_count{{{labels}}}": all_of_them,
        f'http_request_duration_seconds_bucket{{{labels},le="{le}"}}': within,
        f'http_request_duration_seconds_bucket{{{labels},le="+Inf"}}': all_of_them,
    }


def days(series: dict[str, str]) -> History:
    """Three days, evaluated every half hour: every minute takes promtool longer than all other tests of the tier."""
    return History(series, interval="2m", evaluated="30m")


def fires(alert: str, *levels: str) -> dict[str, float]:
    return {f'{{alertname="{alert}",{level}}}': 1 for level in levels}


def test_good_traffic_and_none_alert_nobody(tmp_path: Path) -> None:
    good = requests("0+998x2250") | requests("0+2x2250", "500") | answers("0+1000x2250", "0+960x2250")
    days(good).expect(FIRING, "1h", {}).expect(FIRING, "3d", {}).check(tmp_path, groups())
    idle = requests("7x2250") | requests("3x2250", "500") | answers("9x2250", "2x2250")
    days(idle).expect(FIRING, "3d", {}).check(tmp_path, groups())
    nothing = History({"up": "1x120"}).expect(FIRING, "2h", {})
    zero = {f"{name}{{{LABELS}}}": 0.0 for name in ("fairlead:slo_requests:rate5m",)}
    nothing.expect("fairlead:slo_requests:rate5m", "2h", zero).check(tmp_path, groups())


LABELS = 'model_deployment="fraud",namespace="ml"'


def test_an_outage_wakes_somebody_up_and_lets_go_when_it_is_over(tmp_path: Path) -> None:
    """Seven good hours, a quarter of an hour in which everything fails, and good ones again."""
    outage = requests("0+600x420 252000x14 252000+600x90") | requests("0x420 0+600x15 9000x90", "503")
    urgent = FIRING.replace("{", '{severity="critical",')
    history = History(outage).expect(urgent, "7h3m", {})
    history.expect(urgent, "7h9m", fires(ERRORS, FAST))
    history.expect(urgent, "7h15m", fires(ERRORS, FAST, SLOW))
    history.expect(urgent, "7h30m", fires(ERRORS, SLOW))
    history.expect(urgent, "7h55m", {})
    history.check(tmp_path, groups())


def test_two_bad_minutes_are_no_outage(tmp_path: Path) -> None:
    history = History(requests("0+600x420 252000x1 252000+600x60") | requests("0x420 0+600x2 1200x60", "500"))
    for minute in range(20):
        history.expect(FIRING, f"7h{minute}m", {})
    history.check(tmp_path, groups())


@pytest.mark.parametrize(
    ("errors", "levels"),
    [
        (4, ()),
        (8, (SLOWEST,)),
        (20, (SLOWEST, TICKET)),
        (40, (SLOWEST, TICKET, SLOW)),
        (90, (SLOWEST, TICKET, SLOW, FAST)),
    ],
)
def test_what_burns_slowly_is_for_the_next_working_day(errors: int, levels: tuple[str, ...], tmp_path: Path) -> None:
    """Per 1,000 requests, for three days; 5 are promised."""
    burning = requests(f"0+{1000 - errors}x2200") | requests(f"0+{errors}x2200", "500")
    days(burning).expect(FIRING, "3d", fires(ERRORS, *levels)).check(tmp_path, groups())


def test_refusals_other_models_and_single_requests_are_nobodys_alert(tmp_path: Path) -> None:
    refused = requests("0+10x700") | requests("0+600x700", "422")
    History(refused, evaluated="5m").expect(FIRING, "11h", {}).check(tmp_path, groups())
    others = requests("0+600x700") | requests("0+600x700", "500", model="churn")
    History(others, evaluated="5m").expect(FIRING, "11h", {}).check(tmp_path, groups())
    lonely = requests("0x30 1x600") | requests("0x100 1x500 2x100", "500")
    asked = History(lonely)
    for hour in range(1, 11):
        asked.expect(FIRING, f"{hour}h", {})
    asked.check(tmp_path, groups())


def test_predictions_that_are_shed_are_failures(tmp_path: Path) -> None:
    shed = requests("0+960x120") | requests("0+240x120", "429")
    history = History(shed).expect(FIRING, "2h", fires(ERRORS, FAST, SLOW, TICKET, SLOWEST))
    history.expect("fairlead:slo_errors:rate5m / fairlead:slo_requests:rate5m", "2h", {f"{{{LABELS}}}": 0.2})
    history.check(tmp_path, groups())


def test_errors_of_all_pods_and_all_ways_to_predict_count(tmp_path: Path) -> None:
    spread = requests("0+300x120") | requests("0+300x120", pod="b") | requests("0+90x120", "500", pod="b")
    v2 = 'namespace="ml",model_deployment="fraud",pod="a",path="/v2/models/{name}/infer",status="500"'
    spread[f"http_requests_total{{{v2}}}"] = "0+60x120"
    history = History(spread).expect(FIRING, "2h", fires(ERRORS, FAST, SLOW, TICKET, SLOWEST))
    history.expect("fairlead:slo_errors:rate5m / fairlead:slo_requests:rate5m", "2h", {f"{{{LABELS}}}": 0.2})
    history.check(tmp_path, groups())


@pytest.mark.parametrize(
    ("late", "levels"),
    [
        (40, ()),
        (80, (SLOWEST,)),
        (200, (SLOWEST, TICKET)),
        (400, (SLOWEST, TICKET, SLOW)),
        (800, (SLOWEST, TICKET, SLOW, FAST)),
    ],
)
def test_late_answers_burn_their_own_budget(late: int, levels: tuple[str, ...], tmp_path: Path) -> None:
    """Per 1,000 answers; 50 may be late."""
    slow = answers("0+1000x2200", f"0+{1000 - late}x2200")
    days(slow).expect(FIRING, "3d", fires(LATE, *levels)).check(tmp_path, groups())


@pytest.mark.parametrize("le", ["1", "1.0"])
def test_bounds_are_found_however_they_are_written(le: str, tmp_path: Path) -> None:
    slow = answers("0+1000x100", "0+100x100", le)
    history = History(slow).expect(
        "fairlead:slo_late:rate5m / fairlead:slo_answered:rate5m", "90m", {f"{{{LABELS}}}": 0.9}
    )
    history.check(tmp_path, groups(latency=1000))


def test_a_promise_between_two_bounds_says_what_is_counted(tmp_path: Path) -> None:
    late = [rule for rule in rules(groups(latency=200)) if rule.get("alert") == LATE]
    assert all("counted from 250 ms on" in rule["annotations"]["summary"] for rule in late)
    assert all("within 200 ms" in rule["annotations"]["description"] for rule in late)
    assert "counted from" not in json.dumps(groups(latency=250))
    beyond = rules(groups(success=None, latency=20_000))
    assert [rule.get("record") for rule in beyond] == [alerts.LATENCY], "no bucket tells those apart"


def test_promises_are_series_of_their_own(tmp_path: Path) -> None:
    history = History({"up": "1x10"})
    history.expect(alerts.LATENCY, "5m", {f"{alerts.LATENCY}{{{LABELS}}}": 0.25})
    history.expect(alerts.SUCCESS, "5m", {f"{alerts.SUCCESS}{{{LABELS}}}": 0.995})
    history.check(tmp_path, groups())


@pytest.mark.parametrize("success", ["100", "99.999", "99", "90", "50", "0", None])
@pytest.mark.parametrize("latency", [1, 300, 1000, 20_000, None])
def test_every_rule_is_well_formed(success: str | None, latency: int | None, tmp_path: Path) -> None:
    if success or latency:
        check_rules(groups(success, latency), tmp_path)


def test_a_total_outage_is_found_whatever_was_promised(tmp_path: Path) -> None:
    for success in ("100", "99.999", "90", "50"):
        dead = requests("0x10") | requests("0+600x90", "500")
        loud = fires(ERRORS, FAST, SLOW, TICKET, SLOWEST)
        History(dead).expect(FIRING, "80m", loud).check(tmp_path, groups(success, None))


def test_runbooks_are_there_and_the_rule_fits_its_schema() -> None:
    made = rules(groups(around=Surroundings(runbook_url="https://wiki.example.org/runbooks")))
    urls = {rule["annotations"]["runbook_url"] for rule in made if "alert" in rule}
    assert urls == {f"https://wiki.example.org/runbooks/{alert}.md" for alert in (ERRORS, LATE)}
    for alert in (ERRORS, LATE):
        assert (ROOT / "docs/runbooks" / f"{alert}.md").is_file()
    assert RUNBOOKS.endswith("/docs/runbooks")
    schema = strict(json.loads((Path(__file__).parent / "schemas/prometheusrule.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object"}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {},
        "spec": {"groups": groups()},
    }
    assert not [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(rule)]
