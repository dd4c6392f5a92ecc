"""`updatePolicy: Manual`: what waits, what is said about it, and what ends the waiting."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fairlead_operator.api import Candidate, Serving, Status
from fairlead_operator.approval import command, waits
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from tests.unit.operator.fake import CORRUPT, SLOW, FakeCluster
from tests.unit.operator.samples import NOW, RUNS, md, model, raw
from tests.unit.operator.world import DEADLINE, World, approve, edit

FOLLOWING = {"uri": "models:/fraud@champion", "updatePolicy": "Manual"}
ONE, TWO, THREE = (
    model(run, model_name="fraud", model_version=str(index + 1), alias="champion").model_copy(
        update={"model_uri": f"models:/fraud/{index + 1}"}
    )
    for index, run in enumerate(RUNS[:3])
)
SERVING = Status(serving=Serving(**ONE.model_dump(), since=NOW))


def waits_with(policy: str = "Manual", old: Status = SERVING, wanted: Any = TWO, said: str | None = None) -> bool:
    resource = md(model={"uri": "models:/fraud@champion", "updatePolicy": policy})
    annotations = {"fairlead.dev/approve": said} if said else {}
    metadata = resource.metadata.model_copy(update={"annotations": annotations})
    return waits(resource.model_copy(update={"metadata": metadata}), wanted, old)


def test_what_waits() -> None:
    assert waits_with()
    assert not waits_with(policy="Auto")
    assert not waits_with(wanted=ONE), "it serves"
    assert not waits_with(old=Status()), "the first model"
    assert not waits_with(wanted=TWO.model_copy(update={"alias": None})), "the spec names the version itself"
    assert not waits_with(old=SERVING.model_copy(update={"candidate": Candidate(**TWO.model_dump())})), "let in before"


@pytest.mark.parametrize(("said", "held"), [("2", False), (RUNS[1], False), ("3", True), ("1", True), ("v2", True)])
def test_an_approval_is_about_one_model(said: str, held: bool) -> None:
    assert waits_with(said=said) is held


def test_the_command_can_be_pasted() -> None:
    typed = "kubectl annotate modeldeployment fraud --namespace ml --overwrite fairlead.dev/approve="
    assert command(md(), TWO) == f"{typed}2"
    assert command(md(), model(RUNS[1])) == f"{typed}{RUNS[1]}"


async def following(fates: dict[str, str] | None = None, **spec: Any) -> World:
    """Version 1 serves, and its updates are approved by hand."""
    world = World(FakeCluster(fates or {}))
    rollout = {"strategy": "Rolling", "progressDeadlineSeconds": DEADLINE}
    world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2, model=FOLLOWING, rollout=rollout, **spec))
    await world.settle()
    return world


async def move(world: World, version: int) -> None:
    world.registry.aliases["champion"] = version
    await world.operator.poll()
    await world.settle()


def state(world: World) -> tuple[str | None, str, str]:
    """Version that serves, and what UpToDate says."""
    status = world.status
    condition = status.condition("UpToDate")
    assert condition is not None
    return status.serving.model_version if status.serving else None, condition.status, condition.reason


def pods(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.cluster.pods("fraud")}


def runs(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_an_update_waits_until_it_is_approved() -> None:
    async def story() -> None:
        world = await following()
        assert state(world) == ("1", "True", "UpToDate"), "the first model needs no approval"
        before = pods(world)
        await move(world, 2)
        assert state(world) == ("1", "False", "UpdateAvailable")
        assert pods(world) == before
        kinds = {found.type: found.status for found in world.status.conditions}
        assert kinds == {"Ready": "True", "ModelResolved": "True", "UpToDate": "False"}, "kstatus calls this Current"
        said = world.status.condition("UpToDate")
        assert said is not None
        assert said.message == (
            f"fraud version 2 (run {RUNS[1]}) is available and waits for approval: kubectl annotate modeldeployment "
            "fraud --namespace ml --overwrite fairlead.dev/approve=2"
        )
        assert [event["reason"] for event in world.cluster.news].count("UpdateAvailable") == 1

        approve(world, "3")
        await world.settle()
        assert (state(world), pods(world)) == (("1", "False", "UpdateAvailable"), before)
        approve(world, "2")
        await world.settle()
        assert state(world) == ("2", "True", "UpToDate")
        approve(world, None)
        await world.settle()
        assert state(world) == ("2", "True", "UpToDate"), "what serves goes on without it"

    runs(story())


def test_an_approval_of_what_the_alias_no_longer_means_does_nothing() -> None:
    async def story() -> None:
        world = await following()
        await move(world, 2)
        await move(world, 3)
        approve(world, "2")
        await world.settle()
        assert state(world) == ("1", "False", "UpdateAvailable")
        await move(world, 1)
        assert state(world) == ("1", "True", "UpToDate")

    runs(story())


def test_a_trial_that_was_approved_goes_on_when_the_alias_moves() -> None:
    async def story() -> None:
        world = await following({RUNS[1]: SLOW})
        await move(world, 2)
        approve(world, "2")
        world.cluster.deliver(world.operator.observed)
        await world.step()
        world.registry.aliases["champion"] = 3
        await world.operator.poll()
        await world.step()
        assert state(world) == ("1", "False", "RolloutInProgress")
        assert world.status.candidate is not None
        assert world.status.candidate.model_version == "2"
        world.cluster.fates[RUNS[1]] = "good"
        await world.settle()
        assert state(world) == ("2", "False", "UpdateAvailable")
        assert "RolloutCompleted" in [event["reason"] for event in world.cluster.news]

    runs(story())


def test_a_trial_that_fails_after_the_alias_moved_is_told_before_the_next_is_announced() -> None:
    async def story() -> None:
        world = await following({RUNS[1]: SLOW})
        await move(world, 2)
        approve(world, "2")
        world.cluster.deliver(world.operator.observed)
        await world.step()
        world.registry.aliases["champion"] = 3
        await world.operator.poll()
        world.cluster.fates[RUNS[1]] = CORRUPT
        await world.settle()
        assert state(world) == ("1", "False", "UpdateAvailable")
        told = [event["reason"] for event in world.cluster.news]
        assert told.index("ModelRejected") < len(told) - 1 - told[::-1].index("UpdateAvailable")
        assert [entry.verdict for entry in world.status.history] == ["Rejected: ModelCorrupt"]

    runs(story())


def test_a_model_that_was_taken_back_stays_so_though_its_approval_is_gone() -> None:
    async def story() -> None:
        world = await following({RUNS[1]: CORRUPT})
        await move(world, 2)
        approve(world, "2")
        await world.settle()
        assert state(world) == ("1", "False", "ModelCorrupt")
        approve(world, None)
        await world.settle()
        assert state(world) == ("1", "False", "ModelCorrupt")
        assert len(world.status.history) == 1

    runs(story())


def test_other_changes_of_the_spec_roll_the_model_that_serves() -> None:
    async def story() -> None:
        world = await following()
        await move(world, 2)
        before = pods(world)
        edit(world, env=[{"name": "A", "value": "1"}])
        await world.settle()
        assert state(world) == ("1", "False", "UpdateAvailable")
        assert not pods(world) & before

    runs(story())


def test_switching_to_auto_lets_it_in() -> None:
    async def story() -> None:
        world = await following()
        await move(world, 2)
        edit(world, model=FOLLOWING | {"updatePolicy": "Auto"})
        await world.settle()
        assert state(world) == ("2", "True", "UpToDate")

    runs(story())
