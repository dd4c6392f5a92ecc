"""The operator is killed again and again, in the middle of roll-outs and at every step of a canary."""

import random
from itertools import cycle
from typing import Any

from tests.cluster.disruptions import kill_operator, leader, two_operators
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tests.cluster.recordings import Recording
from tools.cluster import Cluster
from tools.up import NAMESPACE

CANARY = {"strategy": "Canary", "steps": [0, 20, 50], "stepSeconds": 6, "minRequests": 20, "failureThreshold": 5}


def step_of(state: Any) -> int | None:
    candidate = state.get("status", {}).get("candidate") or {}
    found: int | None = candidate.get("step")
    return found


def test_no_request_fails_and_nothing_is_lost(
    cluster: Cluster, namespace: Namespace, models: Models, example_body: str
) -> None:
    namespace.deploy("tried", models.good, rollout=CANARY, replicas=2)
    namespace.deploy("rolled", models.good)
    for name in ("tried", "rolled"):
        namespace.await_(name, "UpToDate")
    targets = cycle([models.better, models.good])
    chance = random.Random(7)

    with (
        namespace.watch("tried") as tried,
        namespace.watch("rolled") as rolled,
        namespace.load("tried", models.better, example_body, rate=60) as load,
    ):
        namespace.deploy("tried", models.better, rollout=CANARY, replicas=2)
        killed_at: list[int] = []
        for expected in range(len(CANARY["steps"])):
            tried.await_state(lambda state, step=expected: step_of(state) == step, 120)
            target = next(targets)
            namespace.deploy("rolled", target)
            rolled.await_states(len(rolled.states) + chance.randrange(3), 3)
            kill_operator(cluster)
            killed_at.append(expected)
        namespace.await_("tried", f"{{.status.serving.runID}}={models.better}")
        namespace.await_("rolled", f"{{.status.serving.runID}}={target}")
        namespace.await_("rolled", "UpToDate")
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert_every_step_in_order(tried, len(killed_at))
    for recording in (tried, rolled):
        recording.assert_honest()
        assert recording.ready() == {"True"}
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/fairlead-operator", "--timeout=60s")


def test_the_other_of_two_replicas_goes_on_with_a_canary(
    cluster: Cluster, namespace: Namespace, models: Models, example_body: str
) -> None:
    namespace.deploy("led", models.good, rollout=CANARY, replicas=2)
    namespace.await_("led", "UpToDate")
    with (
        two_operators(cluster),
        namespace.watch("led") as led,
        namespace.load("led", models.better, example_body, rate=60) as load,
    ):
        namespace.deploy("led", models.better, rollout=CANARY, replicas=2)
        led.await_state(lambda state: step_of(state) == 1, 120)
        killed = leader(cluster)
        cluster.kubectl("delete", "pod", "-n", NAMESPACE, killed, "--force", "--grace-period=0")
        namespace.await_("led", f"{{.status.serving.runID}}={models.better}")
        namespace.await_("led", "UpToDate")
        assert leader(cluster) != killed
        result = load.result()

    assert result["failures"] == 0, result["examples"]
    assert_every_step_in_order(led, len(CANARY["steps"]))
    led.assert_honest()
    assert led.ready() == {"True"}
    told = [event["message"] for event in namespace.events("led") if event["reason"] != "CheckFailed"]
    assert len(told) == len(set(told)), "two replicas have told the same"
    assert any(message.endswith(f"run {models.better} serves") for message in told)


def assert_every_step_in_order(recording: Recording, count: int) -> None:
    """No step was lost, and none was begun again."""
    steps = [step for state in recording.states if (step := step_of(state)) is not None]
    assert steps == sorted(steps)
    assert set(steps) == set(range(count))
