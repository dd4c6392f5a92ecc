"""What of kube-score's findings is told."""

from typing import Any

import yaml

from tools import scored
from tools.scored import Exempt, Finding

FINDING = Finding("default", "Deployment/a-api", "pod-probes", ("none",))
EXEMPT = Exempt("pod-probes", "[^:]+: Deployment/[a-z]+-api", "why")


def answer(grade: int, skipped: bool = False) -> list[dict[str, Any]]:
    """kube-score's JSON about one object and one check."""
    comments = [{"path": "server", "summary": "CPU limit is not set"}, {"path": "", "summary": "none"}]
    check = {"check": {"id": "container-resources"}, "grade": grade, "skipped": skipped, "comments": comments}
    return [{"type_meta": {"kind": "Pod"}, "object_meta": {"name": "p"}, "checks": [check]}]


def test_a_finding_is_told_unless_it_is_exempt() -> None:
    assert scored.judge([FINDING], []) == ["default: Deployment/a-api: pod-probes: none"]
    assert scored.judge([FINDING], [EXEMPT]) == []
    assert scored.judge([Finding("default", "Deployment/a-apis", "pod-probes", ())], [EXEMPT])[0].startswith("default")


def test_an_exemption_that_nothing_needs_is_told() -> None:
    (said,) = scored.judge([], [EXEMPT])
    assert "nothing needs the exemption from pod-probes" in said


def test_warnings_count_and_what_was_skipped_does_not() -> None:
    for grade in (1, 5):
        (finding,) = scored.parse("s", answer(grade))
        assert finding == Finding("s", "Pod/p", "container-resources", ("server: CPU limit is not set", "none"))
    assert not list(scored.parse("s", answer(10)))
    assert not list(scored.parse("s", answer(1, skipped=True)))


def test_every_exemption_says_why() -> None:
    assert all(len(one.why) > 20 for one in scored.EXEMPT)


def test_samples_and_a_canary_are_scored_with_all_their_children() -> None:
    made = {name: {one["kind"] for one in yaml.safe_load_all(text)} for name, text in scored.children()}
    assert len(made) > 1
    assert "sample canary" in made
    assert all({"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= kinds for kinds in made.values())
    assert "ScaledObject" in made["sample iris-autoscaled"]
