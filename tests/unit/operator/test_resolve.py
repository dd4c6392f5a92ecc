"""References and how often MLflow is asked about them."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from fairlead_operator.api import Candidate, Reason, Serving, Status
from fairlead_operator.controller import Controller
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.reference import (
    AliasReference,
    Problem,
    RegisteredModel,
    Resolution,
    Resolved,
    RunReference,
    VersionReference,
    known,
    parse,
)
from fairlead_operator.resolve import Resolver
from fairlead_operator.settings import Settings
from fairlead_operator.spec import ModelSource
from tests.unit.operator.fake import FakeCluster, FakeRegistry, Nothing
from tests.unit.operator.samples import NOW, RUNS, raw

ALIAS = AliasReference("fraud", "champion")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/my fraud@champion", AliasReference("my fraud", "champion")),
        ("models:/fraud/12", VersionReference("fraud", "12")),
        (f"runs:/{RUNS[0]}/deep/model", RunReference(RUNS[0], "deep/model")),
    ],
)
def test_references(uri: str, expected: object) -> None:
    reference = parse(ModelSource(uri=uri))
    assert reference == expected
    assert str(reference) == uri


def test_a_bare_run_means_its_artifact_called_model() -> None:
    assert parse(ModelSource(run_id=RUNS[0])) == RunReference(RUNS[0], "model")


@pytest.mark.parametrize("source", [{}, {"uri": "models:/a@b", "run_id": RUNS[0]}, {"uri": "models:/fraud/latest"}])
def test_what_the_schema_refuses_is_refused_here_too(source: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must be|should match"):
        ModelSource.model_validate(source)


def run_of(answer: Resolution) -> str:
    assert isinstance(answer, Resolved), answer
    return answer.model.run_id


async def test_many_who_ask_at_once_are_one_look_up() -> None:
    registry = FakeRegistry(RUNS, {"champion": 2})
    resolver = Resolver(registry)
    answers = await asyncio.gather(*(resolver.resolve(ALIAS) for _ in range(100)))
    assert (registry.polls, registry.calls) == (1, 2), "what the aliases mean, and that version's run"
    assert {run_of(answer) for answer in answers} == {RUNS[1]}


async def test_only_a_refresh_asks_again_and_says_what_changed() -> None:
    registry = FakeRegistry(RUNS, {"champion": 2})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    assert await resolver.refresh("fraud") == frozenset()
    registry.aliases["champion"] = 3
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[1]
    assert await resolver.refresh("fraud") == {ALIAS}
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[2]
    assert await resolver.refresh("nobody's") == frozenset()
    assert registry.polls == 3


async def test_all_aliases_of_a_name_are_one_call_and_a_version_is_asked_about_once() -> None:
    registry = FakeRegistry(RUNS, {f"a{index}": index % 4 + 1 for index in range(40)})
    resolver = Resolver(registry)
    aliases = [AliasReference("fraud", f"a{index}") for index in range(40)]
    await asyncio.gather(*(resolver.resolve(alias) for alias in aliases))
    assert (registry.polls, registry.calls) == (1, 5)
    registry.aliases |= {"a0": 2, "a5": 3}
    assert await resolver.refresh("fraud") == {aliases[0], aliases[5]}
    assert (registry.polls, registry.calls) == (2, 6)


async def test_an_alias_that_is_new_is_asked_about_at_once() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    registry.aliases["challenger"] = 2
    assert run_of(await resolver.resolve(AliasReference("fraud", "challenger"))) == RUNS[1]
    missing = await resolver.resolve(AliasReference("fraud", "gone"))
    assert isinstance(missing, Problem)
    assert (missing.reason, missing.retry_after) == (Reason.MODEL_NOT_FOUND, None), "the poll will find it"
    registry.aliases["gone"] = 1
    assert await resolver.refresh("fraud") == {AliasReference("fraud", "gone")}


async def test_what_nobody_uses_is_forgotten() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    resolver.forget_all_but([])
    assert await resolver.refresh("fraud") == frozenset()
    registry.aliases["champion"] = 2
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[1]
    assert registry.polls == 2


async def test_the_newest_version_has_an_alias_of_its_own() -> None:
    registry = FakeRegistry(RUNS[:1])
    resolver = Resolver(registry)
    newest = AliasReference("fraud", "latest")
    assert run_of(await resolver.resolve(newest)) == RUNS[0]
    registry.runs = RUNS[:2]
    assert await resolver.refresh("fraud") == {newest}


async def test_a_name_that_was_deleted_and_made_again_has_other_versions() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    registry.runs, registry.created = RUNS[::-1], 2
    assert await resolver.refresh("fraud") == {ALIAS}
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[3]


async def test_it_is_noticed_too_when_nobody_followed_the_name_meanwhile() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    resolver.forget_all_but([])
    registry.runs, registry.created = RUNS[::-1], 2
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[3]


async def test_it_is_noticed_too_when_the_name_was_missing_meanwhile() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    await resolver.resolve(ALIAS)
    there, registry.aliases = registry.aliases, {}
    await resolver.refresh("fraud")
    registry.runs, registry.created, registry.aliases = RUNS[::-1], 2, there
    await resolver.refresh("fraud")
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[3]


async def test_while_mlflow_is_down_only_one_waits_for_it() -> None:
    registry, clock = FakeRegistry(RUNS, {"champion": 1}, down=True), [0.0]
    resolver = Resolver(registry, lambda: clock[0])
    answers = [await resolver.resolve(RunReference(run_id, "model")) for run_id in RUNS]
    answers.append(await resolver.resolve(ALIAS))
    assert registry.calls == 1
    assert all(isinstance(answer, Problem) and answer.passing for answer in answers)
    assert all(isinstance(answer, Problem) and answer.retry_after for answer in answers[:-1])
    assert {answer.message for answer in answers if isinstance(answer, Problem)} == {"MLflow does not answer"}


async def test_an_outage_is_asked_about_less_and_less_often_and_its_end_is_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    registry, clock = FakeRegistry(RUNS, {"champion": 1}), [0.0]
    resolver = Resolver(registry, lambda: clock[0])
    await resolver.resolve(ALIAS)
    assert (resolver.pause, up()) == (None, 1)
    registry.down = True
    assert await resolver.refresh("fraud") == {ALIAS}
    before = registry.calls
    for _ in range(1000):
        clock[0] += 1
        assert await resolver.refresh("fraud") == frozenset(), "an outage is told once"
    assert 1000 / 60 <= registry.calls - before <= 1000 / 30 + 4
    assert up() == 0
    registry.down = False
    clock[0] += 60
    assert await resolver.refresh("fraud") == {ALIAS}
    assert (resolver.pause, up()) == (None, 1)
    said = [record.message for record in caplog.records if record.name.endswith("resolve")]
    assert [message.split(",")[0] for message in said] == ["MLflow is down", "MLflow answers again"]


async def test_a_model_that_may_not_be_read_is_no_outage_for_the_others() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1}, forbidden=frozenset({"secret"}))
    resolver = Resolver(registry)
    answer = await resolver.resolve(AliasReference("secret", "champion"))
    assert isinstance(answer, Problem)
    assert answer.passing
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[0]
    assert up() == 1


async def test_an_answer_that_was_asked_before_a_change_does_not_hide_it() -> None:
    registry = Gated(RUNS, {"champion": 1})
    resolver = Resolver(registry)
    early = asyncio.create_task(resolver.resolve(ALIAS))
    await registry.asked.wait()
    registry.aliases["champion"] = 2  # after MLflow read it, before its answer arrived
    late = asyncio.create_task(resolver.refresh("fraud"))
    registry.answer.set()
    assert run_of(await early) == RUNS[0]
    assert await late == {ALIAS}
    assert run_of(await resolver.resolve(ALIAS)) == RUNS[1]


@dataclass
class Gated(FakeRegistry):
    """Its answers are made when it is asked, and arrive when the test says so."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def registered_model(self, name: str) -> RegisteredModel:
        made = await super().registered_model(name)
        self.asked.set()
        await self.answer.wait()
        return made


def up() -> float | None:
    return REGISTRY.get_sample_value("fairlead_registry_up")


async def test_500_resources_that_follow_one_alias_are_one_call_a_poll() -> None:
    registry = FakeRegistry(RUNS, {"champion": 1})
    settings = Settings(predictor_image="predictor:1", mlflow_tracking_uri="http://mlflow:5000")
    controller = Controller(settings, FakeCluster(), registry, None, Nothing())
    for index in range(500):
        resource = raw(f"m{index}", model={"uri": "models:/fraud@champion"})
        controller.observed(MODEL_DEPLOYMENT, "ADDED", resource)
    await asyncio.gather(*(controller.resolver.resolve(ALIAS) for _ in range(500)))
    while controller.queue.busy:
        controller.queue.done(await controller.queue.get())
    before = registry.calls
    for _ in range(3):
        await controller.poll()
    assert registry.calls - before == 3
    assert len(controller.queue) == 0
    registry.aliases["champion"] = 2
    await controller.poll()
    assert registry.calls - before == 5, "the poll, and the run of a version that is new"
    assert len(controller.queue) == 500


def test_what_is_missing_is_asked_about_again_and_what_is_found_never() -> None:
    async def run() -> None:
        registry = FakeRegistry(RUNS[:1])
        resolver = Resolver(registry)
        later, now = VersionReference("fraud", "2"), VersionReference("fraud", "1")
        answer = await resolver.resolve(later)
        assert isinstance(answer, Problem)
        assert answer.reason is Reason.MODEL_NOT_FOUND
        registry.runs = RUNS
        assert isinstance(await resolver.resolve(later), Resolved)
        for _ in range(3):
            await resolver.resolve(later)
            await resolver.resolve(now)
        assert registry.calls == 3

    asyncio.run(run())


def test_what_the_status_holds_needs_no_registry() -> None:
    serving = Serving(run_id=RUNS[0], model_uri="models:/fraud/3", model_name="fraud", model_version="3", since=NOW)
    candidate = Candidate(run_id=RUNS[1], model_uri=f"runs:/{RUNS[1]}/model")
    status = Status(serving=serving, candidate=candidate)
    found = known(VersionReference("fraud", "3"), status)
    assert found is not None
    assert found.run_id == RUNS[0]
    assert known(RunReference(RUNS[1], "model"), status) is not None
    assert known(RunReference(RUNS[1], "other"), status) is None
    assert known(ALIAS, status) is None
