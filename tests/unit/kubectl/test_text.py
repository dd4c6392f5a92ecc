"""What people see: screens, log lines and ages."""

import io
import json
import unicodedata
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead_kubectl import lines, render, status
from fairlead_kubectl.reading import age, printable
from fairlead_kubectl.why import diagnose
from tests.unit.kubectl.samples import BETTER, GOOD, NOW, OLDER, pod, ready_pod, resource, snapshot, waiting

CANDIDATE = {
    "runID": BETTER,
    "modelName": "fraud",
    "modelVersion": "7",
    "step": 1,
    "weightPercent": 33,
    "failures": 1,
    "checkedAt": "2026-11-26T11:59:30Z",
    "checks": [
        {"name": "success", "value": "97 % (serving: 100 %)", "threshold": "at least 99 %", "ok": False},
        {"name": "latencyP95", "threshold": "at most 250 ms"},
    ],
}


def printed(*parts: Any) -> str:
    out = io.StringIO()
    render.show(render.console(out), *parts)
    return out.getvalue()


def test_a_canary_on_one_screen() -> None:
    spec = {"rollout": {"strategy": "Canary", "steps": [0, 20, 50]}}
    md = resource(spec=spec, candidate=CANDIDATE, history=[{"runID": OLDER, "verdict": "Replaced"}])
    trouble = pod(waiting("server", "ErrImagePull", "no such image"))
    text = printed(render.screen(status.document(snapshot(md, ready_pod(), trouble)), NOW))
    for told in (
        "fraud version 7 (run bbbbbbbb): step 2 of 3 (20 %), 33 % of the traffic now, 1 failed checks",
        "Candidate (checked 30s ago)",
        "ErrImagePull: no such image",
        "Replaced",
    ):
        assert told in text
    (success,) = (line.split() for line in text.splitlines() if "success" in line)
    (latency,) = (line.split() for line in text.splitlines() if "latencyP95" in line)
    assert (success[0], latency[0]) == ("✗", "?")
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_chain_is_indented_from_resource_to_container() -> None:
    one = pod(waiting("server", "ErrImagePull", "no such image"))
    text = printed(render.explanation(diagnose(snapshot(resource(), one)))).splitlines()
    depths = [len(line) - len(line.lstrip()) for line in text[:5]]
    assert depths == [0, 2, 2, 4, 6]


def test_history_begins_with_what_serves() -> None:
    past = [{"runID": BETTER, "verdict": "Rejected: LoadFailed"}, {"runID": OLDER, "verdict": "Replaced"}]
    rejected = [{"runID": BETTER, "reason": "LoadFailed", "message": "out of memory"}]
    rows = status.history(resource(history=past, rejected=rejected))
    assert [(row["runID"], row["verdict"]) for row in rows[:1]] == [(GOOD, "Serving")]
    assert "Rejected: LoadFailed: out of memory" in printed(render.history_table(rows, NOW))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (61, "1m1s"),
        (900, "15m"),
        (3600, "1h"),
        (3720, "1h2m"),
        (40_000, "11h"),
        (200_000, "2d"),
    ],
)
def test_ages_are_kubectls(seconds: int, text: str) -> None:
    then = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert age(then, NOW) == text


@pytest.mark.parametrize("text", [None, "", "soon"])
def test_no_time_has_no_age(text: str | None) -> None:
    assert age(text, NOW) == "-"


def test_log_lines_as_people_read_them() -> None:
    request = {
        "timestamp": "2026-11-26T12:00:01.123Z", "level": "info", "event": "request", "message": "POST /predict",
        "service": "fairlead-predictor", "logger": "fairlead", "method": "POST", "path": "/predict",
        "route": "/predict", "status": 200, "duration_ms": 1.2, "client": "10.0.0.1",
    }  # fmt: skip
    text = lines.pretty(f"[pod/fraud-1/server] {json.dumps(request)}\n").plain
    assert text == "12:00:01.123 INFO    fraud-1 server  POST /predict 200 in 1.2 ms client=10.0.0.1"
    failed = {"timestamp": "2026-11-26T12:00:01.123Z", "level": "error", "event": "error", "exception": "Traceback\nx"}
    assert lines.pretty(f"[pod/fraud-1/server] {json.dumps(failed)}").plain.endswith("\nTraceback\nx")


def test_lines_of_several_pods_are_put_in_order() -> None:
    def line(pod: str, second: int) -> str:
        return f'[pod/{pod}/server] {{"timestamp": "2026-11-26T12:00:0{second}.000+00:00"}}\n'

    bare = "[pod/a/server] no JSON\n"
    assert lines.in_order([line("a", 1), bare, line("a", 4), line("b", 2), line("b", 3)]) == [
        line("a", 1),
        bare,
        line("b", 2),
        line("b", 3),
        line("a", 4),
    ]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\n")))
def test_a_line_in_another_form_stays_what_it_is(said: str) -> None:
    assume(not said.strip().startswith("{"))
    found = lines.pretty(f"[pod/a/b] {said}").plain
    assert found == f"a b  {printable(said)}"


@given(st.text())
def test_no_pod_steers_the_terminal(said: str) -> None:
    for line in (said, json.dumps({"message": said, "exception": said, "more": said})):
        shown = lines.pretty(f"[pod/a/b] {line}").plain
        assert not {unicodedata.category(one) for one in shown if one not in "\n\t"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2J\x9b2J", "\\x1b[2J\\x9b2J"),
        ("txt.\u202efdp", "txt.\\u202efdp"),
        ("\u2066a\u2069\u200b\ufeff", "\\u2066a\\u2069\\u200b\\ufeff"),
        ("a\U000e0041", "a\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("é 中\u00a0%\t🙂", "é 中\u00a0%\t🙂"),
    ],
)
def test_what_is_not_seen_is_shown(said: str, shown: str) -> None:
    assert printable({said: [said]}) == {shown: [shown]}
