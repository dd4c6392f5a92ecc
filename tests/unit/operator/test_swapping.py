"""Another model for pods that stay, step by step; whole histories are in test_simulation.py."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from fairlead_operator.api import (
    Candidate,
    Condition,
    Failure,
    ModelDeployment,
    ModelRef,
    Reason,
    Rejection,
    Serving,
    Status,
)
from fairlead_operator.desired import desired, revision
from fairlead_operator.desired.access import Contact
from fairlead_operator.desired.pods import load_token
from fairlead_operator.events import transitions
from fairlead_operator.hotswap import POLL_SECONDS, RETRY_SECONDS
from fairlead_operator.observe import DeploymentView, Observed, PodView
from fairlead_operator.plan import Plan
from fairlead_operator.reference import Problem, Resolved
from fairlead_operator.reports import FailedLoad, Info, Loading, Report
from fairlead_operator.rollout import plan, trial_of
from fairlead_operator.swapping import REFRESH_SECONDS
from tests.unit.operator.samples import DEFAULTS, NOW, RUNS, md, model

GOOD, NEW, THIRD = (
    model(run, model_name="fraud", model_version=str(version)) for version, run in enumerate(RUNS[:3], start=1)
)
SWAP = {"strategy": "HotSwap", "progressDeadlineSeconds": 60}
LOADING = Loading(NEW.run_id, "fetch")
CORRUPT = FailedLoad(NEW.run_id, Reason.MODEL_CORRUPT, "truncated", NOW)


def resource(**spec: Any) -> ModelDeployment:
    return md(**({"replicas": 4, "rollout": SWAP} | spec))


def revision_of(reference: ModelRef = GOOD, **spec: Any) -> str:
    return revision(resource(**spec), reference, DEFAULTS.image, DEFAULTS)


REVISION = revision_of()
SERVING = Serving(**GOOD.model_dump(), image=DEFAULTS.image, revision=REVISION, since=NOW)


def candidate(reference: ModelRef = NEW, age: float = 10, of: str = REVISION) -> Candidate:
    started_at = NOW - timedelta(seconds=age)
    return Candidate(**reference.model_dump(), image=DEFAULTS.image, revision=of, started_at=started_at)


def pod(number: int, of: str = REVISION, **changes: Any) -> PodView:
    fields = {"ready": True, "failure": None, "waiting": "", "proven": True, "ip": f"10.0.0.{number}"} | changes
    return PodView(f"fraud-{number}", "", of, **fields)


def cluster(*pods: PodView, of: str = REVISION, **changes: Any) -> Observed:
    ready = sum(found.ready for found in pods)
    counts = {"wanted": 4, "replicas": len(pods), "updated": len(pods), "available": ready, "ready": ready} | changes
    return Observed(DeploymentView(of, **counts, observed=True, swaps=True), pods)


FOUR = cluster(*map(pod, range(4)))


def report(serving: ModelRef = GOOD, age: float = 0, restarts: int = 0, told: Any = None, **more: Any) -> Report:
    info = Info(serving.run_id, serving.model_name, serving.model_version, "classification", **more)
    return Report(restarts, NOW - timedelta(seconds=age), info, told=told)


def silent(age: float = 0, told: Any = None) -> Report:
    return Report(0, NOW - timedelta(seconds=age), None, "no route to host", told)


def reports(*found: Report | None) -> dict[str, Report]:
    return {f"fraud-{number}": given for number, given in enumerate(found) if given is not None}


def decide(
    said: Mapping[str, Report],
    on_trial: Candidate | None = None,
    wanted: ModelRef | Problem = NEW,
    seen: Observed = FOUR,
    now: datetime = NOW,
    old: Status | None = None,
    **spec: Any,
) -> Plan:
    before = old or Status(serving=SERVING, candidate=on_trial)
    resolution = wanted if isinstance(wanted, Problem) else Resolved(wanted)
    return plan(resource(**spec), resolution, seen, before, now, DEFAULTS, reports=said)


def settled(status: str = "True") -> Status:
    condition = Condition(type="UpToDate", status=status, reason="UpToDate", message="", last_transition_time=NOW)
    return Status(serving=SERVING, conditions=(condition,))


def loads(decided: Plan) -> dict[str, str]:
    return {load.pod: load.model.run_id for load in decided.round.loads} if decided.round else {}


def asked(decided: Plan) -> set[str]:
    return set(decided.round.asked) if decided.round else set()


def test_another_model_is_told_to_the_first_pod_and_recorded_nowhere() -> None:
    decided = decide(reports(*[report()] * 4))
    assert loads(decided) == {"fraud-0": NEW.run_id}
    assert decided.recorded == GOOD
    assert decided.template is not None
    assert revision_of(decided.template.model) == REVISION, "no pod changes"
    assert decided.candidate is not None
    assert (decided.candidate.run_id, decided.candidate.started_at) == (NEW.run_id, NOW)
    assert (decided.verdict.up_to_date, decided.verdict.progress) == ("False", "Reconciling")
    assert "0 of 4 pods have it" in decided.verdict.message
    assert decided.check_after == POLL_SECONDS


def test_pods_that_were_not_heard_are_asked_before_anything_else() -> None:
    decided = decide({})
    assert loads(decided) == {}
    assert asked(decided) == {f"fraud-{number}" for number in range(4)}
    restarted = cluster(pod(0, restarts=1), *map(pod, range(1, 4)))
    assert asked(decide(reports(*[report()] * 4), seen=restarted, wanted=GOOD)) == {"fraud-0"}


def test_a_pod_is_asked_again_at_the_pace_of_loads_and_told_once() -> None:
    going = reports(report(loading=LOADING), *[report()] * 3)
    assert decide(going, candidate()).round is None
    later = NOW + timedelta(seconds=POLL_SECONDS)
    assert asked(decide(going, candidate(), now=later)) == {f"fraud-{number}" for number in range(4)}
    deaf = reports(report(told=NEW), *[report()] * 3)
    assert decide(deaf, candidate()).round is None, "it has just been told"
    assert loads(decide(deaf, candidate(), now=later)) == {"fraud-0": NEW.run_id}


def test_the_others_follow_and_then_it_serves_and_is_recorded() -> None:
    assert loads(decide(reports(report(NEW), *[report()] * 3), candidate())) == {"fraud-1": NEW.run_id}
    decided = decide(reports(*[report(NEW)] * 4), candidate())
    assert decided.serving is not None
    assert (decided.serving.run_id, decided.serving.revision) == (NEW.run_id, REVISION)
    assert decided.candidate is None
    assert decided.recorded == NEW
    assert decided.verdict.up_to_date == "True"
    assert [(entry.run_id, entry.verdict) for entry in decided.history] == [(GOOD.run_id, "Replaced")]
    assert decided.round is None
    assert decided.check_after is None


def test_pods_that_are_not_ready_are_not_waited_for() -> None:
    seen = cluster(*map(pod, range(3)), pod(3, ready=False))
    decided = decide(reports(*[report(NEW)] * 3), candidate(), seen=seen)
    assert decided.serving is not None
    assert decided.serving.run_id == NEW.run_id


def test_with_no_pod_that_answers_new_ones_start_with_the_candidate() -> None:
    nothing = cluster(pod(0, ready=False))
    assert decide({}, candidate(), seen=nothing).recorded == NEW
    assert decide({}, candidate(), seen=cluster(pod(0))).recorded == GOOD


def test_a_model_that_cannot_be_loaded_is_rejected_and_pods_that_have_it_go_back_at_once() -> None:
    said = reports(report(NEW, previous=GOOD.run_id), report(NEW), report(failed_load=CORRUPT), report(loading=LOADING))
    decided = decide(said, candidate())
    (rejected,) = decided.rejected
    assert (rejected.run_id, rejected.reason) == (NEW.run_id, Reason.MODEL_CORRUPT)
    assert "pod fraud-2: truncated" in rejected.message
    assert decided.candidate is None
    assert decided.recorded == GOOD
    assert loads(decided) == dict.fromkeys(("fraud-0", "fraud-1", "fraud-3"), GOOD.run_id)
    assert (decided.verdict.reason, decided.verdict.progress) == (Reason.MODEL_CORRUPT, "Stalled")
    failure = Failure(run_id=NEW.run_id, pod="fraud-2", reason=Reason.MODEL_CORRUPT, message="truncated", at=NOW)
    assert decided.last_failure == failure
    assert decided.history[0].verdict == "Rejected: ModelCorrupt"


def test_a_rejected_model_is_not_tried_again_before_the_spec_changes() -> None:
    on_trial = candidate()
    fields = on_trial.model_dump(exclude={"started_at"})
    rejection = Rejection(**fields, trial=trial_of(resource(), on_trial), reason=Reason.MODEL_CORRUPT, at=NOW)
    old = Status(serving=SERVING, rejected=(rejection,))
    said = reports(*[report()] * 4)
    assert decide(said, old=old).candidate is None
    assert decide(said, old=old, replicas=5).candidate is None
    assert decide(said, old=old, rollout=SWAP | {"progressDeadlineSeconds": 90}).candidate is not None
    other = decide(said, old=old, wanted=THIRD)
    assert other.candidate is not None, "it has the same revision, and is another model"
    assert other.rejected == ()


def test_the_deadline_ends_a_load_that_does_not_end() -> None:
    said = reports(report(loading=LOADING), *[report()] * 3)
    assert decide(said, candidate(age=59)).check_after == POLL_SECONDS
    late = decide(said, candidate(age=60))
    assert late.rejected[0].reason is Reason.PROGRESS_DEADLINE_EXCEEDED
    assert late.rejected[0].message == "not loaded within 60 s: 0 of 4 pods have it"
    assert loads(late) == {"fraud-0": GOOD.run_id}, "it gives up what it was loading"


def test_a_failure_of_the_serving_model_is_not_the_candidates() -> None:
    def failed(run_id: str | None, age: float = 0) -> Observed:
        at = NOW - timedelta(seconds=age)
        failure = Failure(run_id=run_id, pod="fraud-3", reason=Reason.MODEL_NOT_FOUND, message="gone", at=at)
        return cluster(*map(pod, range(3)), pod(3, ready=False, failure=failure))

    said = reports(*[report()] * 3)
    assert decide(said, candidate(), seen=failed(GOOD.run_id)).rejected == ()
    assert decide(said, candidate(), seen=failed(None)).rejected == ()
    assert decide(said, candidate(), seen=failed(NEW.run_id, age=20)).rejected == (), "an earlier trial's"
    assert decide(said, candidate(), seen=failed(NEW.run_id)).rejected[0].reason is Reason.MODEL_NOT_FOUND


def test_pods_that_fail_time_and_again_do_not_rewrite_the_status() -> None:
    crash = FailedLoad(NEW.run_id, Reason.LOAD_FAILED, "exit code 139", NOW)
    first = decide(reports(report(failed_load=crash), *[report()] * 3), candidate())
    assert "0 of 4 pods have it; LoadFailed: exit code 139" in first.verdict.message
    before = Status(serving=SERVING, candidate=first.candidate, last_failure=first.last_failure)
    for said in (reports(report(loading=LOADING), *[report()] * 3), reports(None, *[report()] * 3)):
        again = decide(said, old=before)
        assert (again.verdict, again.last_failure) == (first.verdict, first.last_failure)
    third = decide(reports(*[report()] * 4), old=before, wanted=THIRD)
    assert "139" not in third.verdict.message, "it is another model's"


def test_what_happened_to_a_pod_before_is_not_told_of_a_new_model() -> None:
    killed = Failure(pod="fraud-3", reason=Reason.LOAD_FAILED, message="exit code 137", at=NOW - timedelta(days=7))
    seen = cluster(*map(pod, range(3)), pod(3, failure=killed))
    said = reports(report(failed_load=FailedLoad(NEW.run_id, Reason.LOAD_FAILED, "139", NOW)), *[report()] * 3)
    for on_trial in (candidate(), None):
        decided = decide(said, on_trial, seen=seen)
        assert "137" not in decided.verdict.message
        assert decided.last_failure is not None
        assert (decided.last_failure.run_id, decided.last_failure.message) == (NEW.run_id, "139")
    assert decide(reports(*[report()] * 4), wanted=GOOD, seen=seen).last_failure == killed


def test_an_alias_that_moves_back_brings_every_pod_back() -> None:
    said = reports(report(NEW), report(loading=LOADING), report(), report())
    decided = decide(said, candidate(), wanted=GOOD)
    assert decided.candidate is None
    assert loads(decided) == {"fraud-0": GOOD.run_id, "fraud-1": GOOD.run_id}
    assert decided.verdict.up_to_date == "False"
    assert decide({}, wanted=GOOD, old=settled("False")).verdict.up_to_date == "False", "nobody has been heard yet"


def test_an_alias_that_moves_on_replaces_the_candidate() -> None:
    decided = decide(reports(report(NEW), *[report()] * 3), candidate(), wanted=THIRD)
    assert decided.candidate is not None
    assert (decided.candidate.run_id, decided.candidate.started_at) == (THIRD.run_id, NOW)
    assert loads(decided) == {"fraud-0": THIRD.run_id}


def test_at_rest_pods_are_asked_when_they_are_new_or_were_not_asked_for_long() -> None:
    said = reports(*[report(age=REFRESH_SECONDS - 1)] * 4)
    resting = decide(said, wanted=GOOD, old=settled())
    assert (resting.round, resting.check_after, resting.verdict.up_to_date) == (None, None, "True")
    assert asked(decide(said, wanted=GOOD, old=settled(), now=NOW + timedelta(seconds=1))) == set(said)
    grown = decide(reports(*[report()] * 3), wanted=GOOD, old=settled())
    assert asked(grown) == {"fraud-3"}
    assert grown.verdict.up_to_date == "True", "it is not known to serve anything else"


def test_what_somebody_else_has_loaded_is_put_back() -> None:
    decided = decide(reports(report(THIRD), *[report()] * 3), wanted=GOOD, old=settled())
    assert decided.verdict.up_to_date == "False"
    assert loads(decided) == {"fraud-0": GOOD.run_id}


def test_a_pod_that_does_not_answer_is_asked_now_and_then_and_unsettles_nothing() -> None:
    said = reports(silent(), *[report()] * 3)
    decided = decide(said, wanted=GOOD, old=settled())
    assert (decided.verdict.up_to_date, decided.round, decided.check_after) == ("True", None, RETRY_SECONDS)
    later = decide(said, wanted=GOOD, old=settled(), now=NOW + timedelta(seconds=RETRY_SECONDS))
    assert "fraud-0" in asked(later)
    trying = decide(reports(silent(), *[report(NEW)] * 3), candidate())
    assert "pod fraud-0 does not answer: no route to host" in trying.verdict.message


def test_suspended_no_pod_is_told_anything_and_none_is_asked_twice() -> None:
    said = reports(report(NEW), *[report()] * 3)
    for on_trial in (candidate(), None):
        decided = decide(said, on_trial, suspend=True, wanted=NEW if on_trial else GOOD)
        assert (decided.round, decided.check_after, decided.recorded) == (None, None, GOOD)


def test_while_mlflow_is_down_what_has_begun_goes_on() -> None:
    down = Problem(Reason.TRACKING_SERVER_UNAVAILABLE, "MLflow does not answer", 10)
    assert loads(decide(reports(report(NEW), *[report()] * 3), candidate(), wanted=down)) == {"fraud-1": NEW.run_id}


def test_the_first_model_is_rolled_out_and_serves_when_a_pod_says_so() -> None:
    first = decide({}, wanted=NEW, seen=Observed(), old=Status())
    assert first.recorded == NEW
    assert first.round is None
    unheard = decide({}, seen=FOUR, old=Status(candidate=candidate()))
    assert (unheard.serving, asked(unheard)) == (None, {f"fraud-{number}" for number in range(4)})
    one = decide(reports(report(NEW)), seen=FOUR, old=Status(candidate=candidate()))
    assert one.serving is not None
    assert one.candidate is not None
    all_four = decide(reports(*[report(NEW)] * 4), seen=FOUR, old=Status(candidate=candidate()))
    assert (all_four.candidate, all_four.verdict.up_to_date) == (None, "True")


def test_a_first_model_that_became_another_meanwhile_is_not_taken_for_it() -> None:
    """The pods are of the candidate's revision, and started with the model that was wanted before."""
    decided = decide(reports(*[report(GOOD)] * 4), seen=FOUR, old=Status(candidate=candidate()))
    assert decided.serving is None
    assert loads(decided) == {"fraud-0": NEW.run_id}


def test_a_changed_template_rolls_with_the_model_that_is_wanted() -> None:
    env = [{"name": "A", "value": "1"}]
    other = revision_of(env=env)
    begun = decide(reports(report(NEW), *[report()] * 3), candidate(), env=env)
    assert begun.template is not None
    assert begun.candidate is not None
    assert begun.candidate.revision == other != REVISION
    assert begun.recorded == NEW, "its pods must start with it"
    assert loads(begun) == {"fraud-0": GOOD.run_id}, "the old ones keep to what is proven"

    half = Observed(
        DeploymentView(other, 4, 5, 2, 4, 4, observed=True, swaps=True),
        (*map(pod, range(3)), pod(3, of=other), pod(4, of=other)),
    )
    said = reports(*[report()] * 4, report(NEW))
    decided = decide(said, candidate(of=other), seen=half, env=env)
    assert decided.serving == SERVING
    assert loads(decided) == {"fraud-3": NEW.run_id}, "it started with what was recorded before"
    assert decided.recorded == NEW
    whole = cluster(*(pod(number, of=other) for number in range(4)), of=other)
    unsaid = decide(reports(*[report(NEW)] * 3), candidate(of=other), seen=whole, env=env)
    assert unsaid.candidate is not None
    done = decide(reports(*[report(NEW)] * 4), candidate(of=other), seen=whole, env=env)
    assert done.serving is not None
    assert (done.serving.run_id, done.serving.revision) == (NEW.run_id, other)


def test_a_version_of_the_same_run_is_loaded_and_never_rejected() -> None:
    again = GOOD.model_copy(update={"model_version": "9"})
    on_trial = candidate(again, age=70)
    failed = FailedLoad(GOOD.run_id, Reason.MODEL_CORRUPT, "truncated", NOW - timedelta(seconds=RETRY_SECONDS))
    decided = decide(reports(report(failed_load=failed), *[report()] * 3), on_trial, wanted=again)
    assert decided.rejected == ()
    assert decided.verdict.progress == "Stalled"
    assert set(loads(decided)) == {f"fraud-{number}" for number in range(4)}


@pytest.mark.parametrize("strategy", ["Rolling", "Canary"])
def test_pods_that_swap_keep_their_record_while_others_take_their_place(strategy: str) -> None:
    leaving = {"rollout": {"strategy": strategy}}
    decided = decide(reports(report(NEW), *[report()] * 3), candidate(), **leaving)
    assert decided.candidate is not None
    assert decided.candidate.revision != REVISION
    assert decided.recorded == GOOD
    assert loads(decided) == {"fraud-0": GOOD.run_id}
    children = desired(resource(**leaving), decided.template, DEFAULTS, decided.trial, recorded=decided.recorded)
    assert ("ConfigMap", "fraud") in children.places
    labelled = PodView("fraud-9", GOOD.run_id, revision_of(**leaving), True, None, "", ip="10.0.0.9")
    rolled = Observed(DeploymentView(labelled.revision, 1, 1, 1, 1, 1, observed=True), (labelled,))
    serving = SERVING.model_copy(update={"revision": labelled.revision})
    gone = decide({}, wanted=GOOD, seen=rolled, old=Status(serving=serving), replicas=1, **leaving)
    assert (gone.recorded, gone.round) == (None, None)
    left = desired(resource(**leaving), gone.template, DEFAULTS, recorded=gone.recorded)
    assert ("ConfigMap", "fraud") not in left.places


def test_rounds_carry_the_resources_token_and_nobody_prints_it() -> None:
    secured = DEFAULTS.__class__(**{**vars(DEFAULTS), "load_key": "k" * 32})
    revised = revision(resource(), GOOD, DEFAULTS.image, secured)
    pods = tuple(pod(number, of=revised) for number in range(4))
    serving = SERVING.model_copy(update={"revision": revised})
    decided = plan(
        resource(), Resolved(NEW), cluster(*pods, of=revised), Status(serving=serving), NOW, secured,
        reports=reports(*[report()] * 4),
    )  # fmt: skip
    assert decided.round is not None
    token = load_token(resource(), secured)
    assert decided.round.contact == Contact(token)
    assert str(token) not in repr(decided)


def test_swaps_are_told_as_roll_outs_are() -> None:
    begun, done = candidate(), Serving(**NEW.model_dump(), image=DEFAULTS.image, revision=REVISION, since=NOW)
    before, going = settled(), settled("False").model_copy(update={"candidate": begun})
    after = settled().model_copy(update={"serving": done})
    assert [found.reason for found in transitions(before, going)] == ["RolloutStarted"]
    assert [found.reason for found in transitions(going, after)] == ["RolloutCompleted"]
    other = going.model_copy(update={"candidate": candidate(THIRD)})
    assert [found.reason for found in transitions(going, other)] == ["RolloutStarted"]
