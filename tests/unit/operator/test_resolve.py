"""References and how often MLflow is asked about them."""

import asyncio

import pytest

from fairlead_operator.api import Candidate, ModelSource, Reason, Serving, Status
from fairlead_operator.reference import AliasReference, Problem, Resolved, RunReference, VersionReference, known, parse
from fairlead_operator.resolve import Resolver
from tests.unit.operator.fake import FakeRegistry
from tests.unit.operator.samples import NOW, RUNS

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


def test_many_who_ask_at_once_are_one_call() -> None:
    async def run() -> None:
        registry = FakeRegistry(RUNS, {"champion": 2})
        resolver = Resolver(registry)
        answers = await asyncio.gather(*(resolver.resolve(ALIAS) for _ in range(100)))
        assert registry.calls == 1
        assert {answer.model.run_id for answer in answers if isinstance(answer, Resolved)} == {RUNS[1]}
        assert not await resolver.refresh(ALIAS)
        registry.aliases["champion"] = 3
        assert isinstance(old := await resolver.resolve(ALIAS), Resolved)
        assert old.model.run_id == RUNS[1], "only the poll asks again"
        assert await resolver.refresh(ALIAS)
        resolver.forget_all_but([])
        await resolver.resolve(ALIAS)
        assert registry.calls == 4

    asyncio.run(run())


def test_while_mlflow_is_down_only_one_waits_for_it() -> None:
    async def run() -> None:
        registry = FakeRegistry(RUNS, down=True)
        resolver = Resolver(registry)
        answers = [await resolver.resolve(RunReference(run_id, "model")) for run_id in RUNS]
        assert registry.calls == 1
        assert all(isinstance(answer, Problem) and answer.passing for answer in answers)
        assert all(isinstance(answer, Problem) and answer.retry_after for answer in answers)

    asyncio.run(run())


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
