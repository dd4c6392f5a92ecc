"""What is told, and that it is told once."""

from fairlead_operator.api import Candidate, Condition, Reason, Rejection, Serving, Status
from fairlead_operator.events import MAX_MESSAGE, Transition, manifest, outcomes, transitions
from tests.unit.operator.samples import NOW, RUNS, raw

SERVING = Serving(run_id=RUNS[0], revision="r0", since=NOW)
CANDIDATE = Candidate(run_id=RUNS[1], revision="r1", started_at=NOW)
REJECTION = Rejection(run_id=RUNS[1], revision="r1", trial="t", reason=Reason.MODEL_CORRUPT, message="cut off", at=NOW)


def conditions(**values: tuple[str, str]) -> tuple[Condition, ...]:
    return tuple(
        Condition.model_validate(
            {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": NOW}
        )
        for kind, (status, reason) in values.items()
    )


def told(old: Status, new: Status) -> list[tuple[str, str]]:
    return [(transition.type, transition.reason) for transition in transitions(old, new)]


def test_a_roll_out_begins_and_ends() -> None:
    going = Status(candidate=CANDIDATE, conditions=conditions(UpToDate=("False", "RolloutInProgress")))
    done = Status(
        serving=SERVING.model_copy(update={"revision": "r1"}), conditions=conditions(UpToDate=("True", "UpToDate"))
    )
    assert told(Status(serving=SERVING), going) == [("Normal", "RolloutStarted")]
    assert told(going, done) == [("Normal", "RolloutCompleted")]


def test_the_first_roll_out_of_a_resource_is_no_news_and_later_ones_are() -> None:
    going = Status(candidate=CANDIDATE, conditions=conditions(UpToDate=("False", "RolloutInProgress")))
    assert [found.news for found in transitions(Status(), going)] == [False]
    assert [found.news for found in transitions(Status(observed_generation=1, serving=SERVING), going)] == [True]


def test_a_rejection_is_told_once_though_it_stalls_too() -> None:
    before = Status(serving=SERVING, candidate=CANDIDATE)
    stalled = conditions(Stalled=("True", "ModelCorrupt"))
    after = Status(serving=SERVING, rejected=(REJECTION,), conditions=stalled)
    assert told(before, after) == [("Warning", "ModelRejected")]
    assert told(after, after) == []
    assert "cut off" in transitions(before, after)[0].message


def test_a_roll_out_ends_once() -> None:
    going = Status(serving=SERVING, candidate=CANDIDATE)
    serves = Serving(**CANDIDATE.model_dump(exclude={"started_at"}), since=NOW)
    done = Status(serving=serves)
    assert outcomes(Status(), going) == outcomes(going, going) == []
    assert outcomes(going, done) == ["promoted"]
    assert outcomes(done, done) == []
    assert outcomes(going, Status(serving=SERVING)) == ["superseded"], "the alias went back"
    other = CANDIDATE.model_copy(update={"run_id": RUNS[2], "revision": "r2"})
    assert outcomes(going, Status(serving=SERVING, candidate=other)) == ["superseded"]
    assert outcomes(going, Status(serving=serves, candidate=other)) == ["promoted"]
    taken_back = Status(serving=SERVING, rejected=(REJECTION,))
    assert outcomes(going, taken_back) == ["rejected"]
    assert outcomes(taken_back, taken_back) == []
    aborted = REJECTION.model_copy(update={"reason": Reason.ABORTED})
    assert outcomes(going, Status(serving=SERVING, rejected=(aborted,))) == ["aborted"]
    first = Status(serving=serves, candidate=CANDIDATE)
    assert outcomes(going, first) == [], "its first pod answers, the others do not yet"
    assert outcomes(first, done) == ["promoted"]


def test_an_update_that_waits_is_told_once_for_each_model() -> None:
    serving = Status(serving=SERVING, conditions=conditions(UpToDate=("True", "UpToDate")))
    waiting = Status(serving=SERVING, conditions=conditions(UpToDate=("False", "UpdateAvailable")))
    (condition,) = waiting.conditions
    other = waiting.model_copy(update={"conditions": (condition.model_copy(update={"message": "version 5"}),)})
    assert told(serving, waiting) == [("Normal", "UpdateAvailable")]
    assert told(waiting, waiting) == []
    assert told(waiting, other) == [("Normal", "UpdateAvailable")]
    assert told(waiting, serving) == [], "the alias came back: nothing was rolled"
    going = Status(serving=SERVING, candidate=CANDIDATE, conditions=conditions(UpToDate=("False", "RolloutInProgress")))
    served = SERVING.model_copy(update={"revision": "r1"})
    done = Status(serving=served, conditions=conditions(UpToDate=("False", "UpdateAvailable")))
    assert told(going, done) == [("Normal", "RolloutCompleted"), ("Normal", "UpdateAvailable")]


def test_losing_and_finding_the_registry() -> None:
    up = Status(conditions=conditions(ModelResolved=("True", "Resolved")))
    down = Status(conditions=conditions(ModelResolved=("Unknown", "TrackingServerUnavailable")))
    assert told(up, down) == [("Warning", "ModelUnresolved")]
    assert told(down, up) == [("Normal", "ModelResolved")]
    assert told(Status(), up) == [], "a first look-up is no news"


def test_any_other_stall_is_told() -> None:
    stalled = Status(conditions=conditions(Stalled=("True", "NameConflict")))
    assert told(Status(), stalled) == [("Warning", "Stalled")]
    assert told(stalled, stalled) == []


def test_the_event_fits_and_has_a_name_of_its_own() -> None:
    long = Transition("Warning", "ModelRejected", "x" * 5000)
    event = manifest(raw("n" * 253), long, NOW)
    assert len(event["message"]) == MAX_MESSAGE
    assert len(event["metadata"]["name"]) <= 253
    assert event["involvedObject"]["uid"] == "uid-1"
    other = manifest(raw("n" * 253), Transition("Warning", "ModelRejected", "y"), NOW)
    assert other["metadata"]["name"] != event["metadata"]["name"]
