"""What the metrics say of all resources together."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from fairlead_operator.api import Reason
from fairlead_operator.census import WRONG, Census, Problem, problems
from fairlead_operator.kinds import MODEL_DEPLOYMENT, POD
from fairlead_operator.metrics import NAMED_PROBLEMS, ProblemCollector
from fairlead_operator.store import Store
from tests.unit.operator.samples import raw


def stored(name: str = "fraud", version: int = 1, candidate: bool = False, **conditions: str) -> dict[str, Any]:
    """A resource with conditions written `Status Reason`."""
    told = [
        {"type": kind, "status": value.split()[0], "reason": value.split()[1], "message": ""}
        for kind, value in conditions.items()
    ]
    obj = raw(name)
    obj["metadata"]["resourceVersion"] = str(version)
    return obj | {"status": {"conditions": told} | ({"candidate": {"runID": "a" * 32}} if candidate else {})}


WELL = {"Ready": "True Serving", "ModelResolved": "True Resolved", "UpToDate": "True UpToDate"}


@pytest.mark.parametrize(
    ("conditions", "wrong"),
    [
        ({}, []),
        (WELL, []),
        (WELL | {"Autoscaled": "True AutoscalerInPlace", "DataDrift": "False NotDrifted"}, []),
        (WELL | {"UpToDate": "False RolloutInProgress", "Reconciling": "True RolloutInProgress"}, []),
        (WELL | {"UpToDate": "False UpdateAvailable"}, []),
        (WELL | {"UpToDate": "False Suspended"}, []),
        (WELL | {"ModelResolved": "Unknown TrackingServerUnavailable"}, []),
        (WELL | {"Ready": "False ScaledToZero"}, []),
        (WELL | {"Ready": "False NoPodAvailable"}, [("Ready", "NoPodAvailable")]),
        (WELL | {"Ready": "False Starting"}, [("Ready", "Starting")]),
        (WELL | {"ModelResolved": "False ModelNotFound"}, [("ModelResolved", "ModelNotFound")]),
        (WELL | {"DataDrift": "True Drifted"}, [("DataDrift", "Drifted")]),
        (
            WELL | {"UpToDate": "False ModelCorrupt", "Stalled": "True ModelCorrupt"},
            [("UpToDate", "ModelCorrupt")],
        ),
        (
            WELL | {"UpToDate": "False AnalysisUnavailable", "Reconciling": "True AnalysisUnavailable"},
            [("UpToDate", "AnalysisUnavailable")],
        ),
        (
            WELL | {"Autoscaled": "False AutoscalerMissing", "Stalled": "True AutoscalerMissing"},
            [("Autoscaled", "AutoscalerMissing")],
        ),
        (WELL | {"Stalled": "True ApplyRefused"}, [("Stalled", "ApplyRefused")]),
        (WELL | {"Ready": "False ReasonOfANewerVersion"}, []),
    ],
)
def test_what_is_wrong_is_told_and_what_goes_on_is_not(
    conditions: dict[str, str], wrong: list[tuple[str, str]]
) -> None:
    assert list(problems(stored(**conditions))) == wrong


@given(
    st.dictionaries(st.sampled_from([*WRONG, "Reconciling", "Other"]), st.sampled_from(["True", "False", "Unknown"]))
)
def test_reasons_are_of_the_closed_list_and_each_condition_is_told_once(conditions: dict[str, str]) -> None:
    found = problems(stored(**{kind: f"{status} NoPodAvailable" for kind, status in conditions.items()}))
    assert {problem.reason for problem in found} <= set(Reason)
    assert len({problem.condition for problem in found}) == len(found)
    assert {problem.condition for problem in found} <= set(WRONG)


def test_the_store_keeps_it_up_to_date() -> None:
    store = Store()
    store.put(MODEL_DEPLOYMENT, stored(version=1, candidate=True, Ready="False Starting"))
    assert store.census.problems == {("ml", "fraud"): (Problem("Ready", "Starting"),)}
    assert store.census.rolling == 1
    before = store.census.problems
    store.put(MODEL_DEPLOYMENT, stored(version=3, **WELL))
    store.put(MODEL_DEPLOYMENT, stored(version=2, Ready="False Starting"))
    assert (store.census.problems, store.census.rolling) == ({}, 0)
    assert before == {("ml", "fraud"): (Problem("Ready", "Starting"),)}, "who reads it has a picture that stays"
    store.put(MODEL_DEPLOYMENT, stored(version=4, candidate=True, Ready="False Starting"))
    store.remove(MODEL_DEPLOYMENT, stored(version=5))
    assert (store.census.problems, store.census.rolling) == ({}, 0)


def test_pods_count_while_their_containers_are_ready() -> None:
    census = Census()
    pod = {"metadata": {"namespace": "ml", "name": "fraud-1"}, "status": {}}
    ready = pod | {"status": {"conditions": [{"type": "ContainersReady", "status": "True"}]}}
    census.note(POD, pod)
    assert census.pods == 0
    census.note(POD, ready)
    census.note(POD, ready)
    assert census.pods == 1
    census.forget(POD, ("ml", "fraud-1"))
    assert census.pods == 0


def lines(collector: ProblemCollector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_healthy_resources_have_no_series() -> None:
    store, collector = Store(), ProblemCollector()
    collector.set_function(lambda: store.census.problems)
    for number in range(1000):
        store.put(MODEL_DEPLOYMENT, stored(f"model-{number}", **WELL))
    assert lines(collector) == [f'fairlead_modeldeployment_problems{{condition="{kind}"}} 0.0' for kind in WRONG]


def test_names_are_bounded_and_totals_are_not() -> None:
    store, collector = Store(), ProblemCollector()
    collector.set_function(lambda: store.census.problems)
    for number in reversed(range(700)):
        store.put(MODEL_DEPLOYMENT, stored(f"model-{number:03}", Ready="False NoPodAvailable"))
    found = lines(collector)
    named = [line for line in found if line.startswith("fairlead_modeldeployment_problem{")]
    assert len(named) == NAMED_PROBLEMS
    labels = 'namespace="ml",reason="NoPodAvailable"'
    assert named[0] == f'fairlead_modeldeployment_problem{{condition="Ready",name="model-000",{labels}}} 1.0'
    assert 'fairlead_modeldeployment_problems{condition="Ready"} 700.0' in found


def test_it_is_read_while_it_changes() -> None:
    """The metrics' thread reads what the event loop's writes: each reading is whole."""
    store, collector, failures = Store(), ProblemCollector(), list[BaseException]()
    collector.set_function(lambda: store.census.problems)
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                list(collector.collect())
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2000):
        wrong = {"Ready": "False Starting"} if number % 3 else WELL
        store.put(MODEL_DEPLOYMENT, stored(f"model-{number % 50}", number + 1, **wrong))
    done.set()
    reader.join()
    assert failures == []
