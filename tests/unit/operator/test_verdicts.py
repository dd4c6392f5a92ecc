"""What the registry is told, when it is not, and that it hears of it in the end."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api import ModelVerdict, Reason, Rejection, Serving, Status
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.registrar import TELL_SECONDS, Registrar
from fairlead_operator.store import Key
from fairlead_operator.verdicts import MAX_KEY, MAX_TEXT, corrections, outbox, place, tag_key, verdicts
from tests.unit.operator.fake import CORRUPT, FakeCluster, FakeRegistry
from tests.unit.operator.samples import NOW, RUNS, names, raw
from tests.unit.operator.world import KEY, World, edit

TAG = "fairlead.ml.fraud"
ONE, TWO = {"model_name": "fraud", "model_version": "1"}, {"model_name": "fraud", "model_version": "2"}


def serving(run: str = RUNS[0], **fields: Any) -> Status:
    return Status(serving=Serving(run_id=run, since=NOW, **fields))


def rejected(run: str = RUNS[1], message: str = "cut off", **fields: Any) -> Rejection:
    return Rejection(run_id=run, trial="t", reason=Reason.MODEL_CORRUPT, message=message, at=NOW, **fields)


def told(old: Status, new: Status) -> list[tuple[tuple[str, str], str]]:
    return [(place(verdict), verdict.text) for verdict in verdicts(old, new)]


def test_a_model_that_serves_and_the_one_before_it() -> None:
    first, second = serving(**ONE), serving(RUNS[1], **TWO)
    assert told(Status(), first) == [(("fraud", "1"), "Serving")]
    assert told(first, second) == [(("fraud", "1"), "Replaced"), (("fraud", "2"), "Serving")]
    assert told(second, second) == []
    rolled = serving(**ONE, revision="another")
    assert told(first, rolled) == [], "other pods, the same model"


def test_a_model_without_a_version_is_its_run() -> None:
    assert told(serving(**ONE), serving(RUNS[1])) == [(("fraud", "1"), "Replaced"), (("", RUNS[1]), "Serving")]


def test_a_rejection_is_told_once_and_shortened() -> None:
    before = serving(**ONE)
    after = before.model_copy(update={"rejected": (rejected(**TWO),)})
    assert told(before, after) == [(("fraud", "2"), "RolledBack: ModelCorrupt: cut off")]
    assert told(after, after) == []
    (long,) = verdicts(before, before.model_copy(update={"rejected": (rejected(message="x" * 5000),)}))
    assert len(long.text) == MAX_TEXT
    assert long.text.endswith("x…")


@given(names)
def test_every_resource_has_a_tag_that_mlflow_takes(name: str) -> None:
    key = tag_key("n" * 63, name)
    assert len(key) <= MAX_KEY
    assert key.startswith(f"fairlead.{'n' * 63}.")
    assert tag_key("ml", "fraud") == TAG


_verdict = st.builds(
    ModelVerdict,
    run_id=st.sampled_from(RUNS[:2]),
    model_name=st.just("fraud"),
    model_version=st.sampled_from(["1", "2", None]),
    text=st.sampled_from(["Serving", "Replaced", "RolledBack: x"]),
)


@given(st.lists(_verdict), st.lists(_verdict))
def test_newer_verdicts_supersede_older_ones_about_the_same_model(
    waiting: list[ModelVerdict], news: list[ModelVerdict]
) -> None:
    left = outbox(waiting, news)
    assert len({place(verdict) for verdict in left}) == len(left)
    newest = {place(verdict): verdict.text for verdict in (*waiting, *news)}
    assert {place(verdict): verdict.text for verdict in left} == newest
    assert outbox(left, ()) == left


def test_what_was_told_of_a_status_that_was_never_written_is_put_right() -> None:
    first, second = serving(**ONE), serving(RUNS[1], **TWO)
    early = verdicts(first, second)
    assert corrections(early, second) == ()
    put_right = corrections(early, first)
    assert [(place(verdict), verdict.text) for verdict in put_right] == [
        (("fraud", "1"), "Serving"),
        (("fraud", "2"), "Replaced"),
    ]
    refused = first.model_copy(update={"rejected": (rejected(**TWO),)})
    assert corrections(early, refused)[1].text == "RolledBack: ModelCorrupt: cut off"


async def world_with(registry: FakeRegistry | None = None, fates: dict[str, str] | None = None) -> World:
    world = World(FakeCluster(fates or {}), registry or FakeRegistry(RUNS, {"champion": 1}))
    world.cluster.put(MODEL_DEPLOYMENT, raw(replicas=2, model={"uri": "models:/fraud@champion"}))
    await world.settle()
    return world


async def move(world: World, version: int) -> None:
    world.registry.aliases["champion"] = version
    await world.operator.poll()
    await world.settle()


def tags(world: World) -> dict[str, str]:
    """Verdict by version."""
    return {version: found[TAG] for (_, version), found in world.registry.tags.items()}


async def test_the_registry_hears_of_every_model() -> None:
    world = await world_with(fates={RUNS[1]: CORRUPT})
    assert tags(world) == {"1": "Serving"}
    await move(world, 2)
    assert tags(world) == {"1": "Serving", "2": "RolledBack: ModelCorrupt: model.skops is truncated"}
    await move(world, 3)
    assert tags(world)["1"] == "Replaced"
    assert tags(world)["3"] == "Serving"
    edit(world, model={"runID": RUNS[3]})
    await world.settle()
    assert (tags(world)["3"], tags(world)[RUNS[3]]) == ("Replaced", "Serving")


async def test_an_outage_keeps_no_roll_out_waiting_and_is_made_up_for() -> None:
    world = await world_with()
    world.registry.aliases["champion"] = 2
    await world.operator.poll()
    world.registry.down = True
    await world.settle()
    assert world.status.serving is not None
    assert world.status.serving.model_version == "2"
    waiting = [("1", "Replaced"), ("2", "Serving")]
    assert [(verdict.model_version, verdict.text) for verdict in world.status.untold] == waiting
    assert tags(world) == {"1": "Serving"}

    world.start()  # what is untold outlives the operator
    await world.settle()
    assert len(world.status.untold) == 2
    world.registry.down = False
    await world.settle()
    assert (tags(world), world.status.untold) == ({"1": "Replaced", "2": "Serving"}, ())


async def test_what_was_put_off_is_told_as_it_is_by_then() -> None:
    world = await world_with()
    world.registry.deaf = True
    await move(world, 2)
    await move(world, 3)
    left = [(verdict.model_version, verdict.text) for verdict in world.status.untold]
    assert left == [("1", "Replaced"), ("2", "Replaced"), ("3", "Serving")]
    world.registry.deaf = False
    await world.settle()
    assert [text for where, _, text in world.registry.told if where == ("fraud", "2")] == ["Replaced"]
    world.check_registry()


async def test_a_model_that_is_gone_is_not_told_about_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    world = await world_with()
    world.registry.aliases["champion"] = 2
    await world.operator.poll()
    world.registry.runs = RUNS[:1]  # version 2 is deleted while it rolls out
    await world.settle()
    assert world.status.untold == ()
    assert tags(world) == {"1": "Replaced"}
    assert "no version 2" in caplog.text


async def test_a_status_that_could_not_be_written_is_no_reason_to_say_what_is_not_so() -> None:
    world = await world_with()
    world.registry.aliases["champion"] = 2
    await world.operator.poll()
    await world.step()
    cluster = world.cluster
    for _ in range(4):
        cluster.roll()
        cluster.run_pods()
    cluster.roll()
    cluster.deliver(world.operator.observed)
    cluster.down_for = 1
    await world.step()  # told, and then the write failed
    assert tags(world) == {"1": "Replaced", "2": "Serving"}
    assert world.status.serving is not None
    assert world.status.serving.model_version == "1"
    for pod in cluster.pods("fraud"):  # meanwhile the pods went away and the alias moved on
        cluster.objects[("Pod", "ml", pod["metadata"]["name"])]["status"] = {}
    world.floor = 0
    cluster.fates[RUNS[1]] = cluster.fates[RUNS[2]] = CORRUPT
    world.registry.aliases["champion"] = 3
    await world.operator.poll()
    await world.settle()
    world.check_registry()


class Hanging(FakeRegistry):
    """Takes a verdict and never answers."""

    async def tag_version(self, *_: str) -> None:
        self.calls += 1
        await asyncio.Event().wait()


async def test_a_registry_that_hangs_costs_one_reconcile_two_seconds_and_the_others_nothing() -> None:
    registry, loop = Hanging(RUNS), asyncio.get_running_loop()
    registrar = Registrar(registry, loop.time)
    begun = loop.time()
    news = serving(**ONE)
    for index in range(50):
        left = await registrar.tell(Key("ml", f"m{index}"), Status(), news)
        assert [verdict.text for verdict in left.untold] == ["Serving"]
    assert registry.calls == 1
    assert TELL_SECONDS - 0.1 <= loop.time() - begun < TELL_SECONDS + 2


async def test_rights_that_are_missing_are_asked_for_ever_more_seldom() -> None:
    registry, clock = FakeRegistry(RUNS, deaf=True), [0.0]
    registrar = Registrar(registry, lambda: clock[0])
    status = await registrar.tell(KEY, Status(), serving(**ONE))
    for _ in range(3600):
        clock[0] += 1
        status = await registrar.tell(KEY, status, status)
    assert len(status.untold) == 1
    assert registry.calls < 40
    assert (registrar.retry_after(status) or 0) >= 1
    assert registrar.retry_after(serving()) is None
