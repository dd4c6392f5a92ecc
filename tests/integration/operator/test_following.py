"""How often a real MLflow is asked, and what it says about aliases."""

import asyncio
from collections import Counter
from collections.abc import Callable

from fairlead_operator.api import Reason
from fairlead_operator.controller import Controller
from fairlead_operator.mlflow import MLflow
from fairlead_operator.reference import AliasReference, Problem, Resolved
from fairlead_operator.resolve import Resolver
from tests.controlplane.cluster import Registry
from tests.integration.operator.conftest import followers

MakeOperator = Callable[..., Controller]


async def test_500_followers_of_one_alias_are_one_call_a_poll(
    registry: Registry, name: str, operator: MakeOperator, calls: Counter[str]
) -> None:
    first, second = registry.run(), registry.run()
    registry.alias(name, "champion", registry.version(name, first))
    registry.version(name, second)
    controller = operator(*followers(500, name))
    alias = AliasReference(name, "champion")
    answers = await asyncio.gather(*(controller.resolver.resolve(alias) for _ in range(500)))
    assert {answer.model.run_id for answer in answers if isinstance(answer, Resolved)} == {first}
    assert calls == {"registered-models/get": 1, "model-versions/get": 1}

    for _ in range(3):
        await controller.poll()
    assert calls == {"registered-models/get": 4, "model-versions/get": 1}

    registry.alias(name, "champion", "2")
    await controller.poll()
    assert calls == {"registered-models/get": 5, "model-versions/get": 2}
    answer = await controller.resolver.resolve(alias)
    assert isinstance(answer, Resolved)
    assert (answer.model.run_id, answer.model.model_version, answer.model.alias) == (second, "2", "champion")
    registry.alias(name, "champion", "1")
    await controller.poll()
    assert calls == {"registered-models/get": 6, "model-versions/get": 2}, "moved back: nothing new to learn"


async def test_what_aliases_mean(registry: Registry, name: str, mlflow: MLflow) -> None:
    for _ in range(11):
        registry.version(name, registry.run(None))
    registry.alias(name, "champion", "3")
    found = await mlflow.registered_model(name)
    assert found.created > 1_600_000_000_000
    assert [found.version_of(alias) for alias in ("champion", "latest", "other")] == ["3", "11", None]


async def test_a_model_or_an_alias_that_is_not_there(registry: Registry, name: str, mlflow: MLflow) -> None:
    resolver = Resolver(mlflow)
    alias = AliasReference(name, "champion")
    missing = await resolver.resolve(alias)
    assert isinstance(missing, Problem)
    assert missing.reason is Reason.MODEL_NOT_FOUND
    assert name in missing.message
    version = registry.version(name, registry.run())
    assert await resolver.refresh(name) == {alias}
    assert str(alias) in getattr(await resolver.resolve(alias), "message", "")
    registry.alias(name, "champion", version)
    assert await resolver.refresh(name) == {alias}
    assert isinstance(await resolver.resolve(alias), Resolved)


async def test_a_model_that_is_made_again_under_its_name(registry: Registry, name: str, mlflow: MLflow) -> None:
    resolver = Resolver(mlflow)
    alias = AliasReference(name, "champion")
    registry.alias(name, "champion", registry.version(name, registry.run()))
    await resolver.resolve(alias)
    registry.client.request("DELETE", "registered-models/delete", json={"name": name}).raise_for_status()
    second = registry.run()
    registry.alias(name, "champion", registry.version(name, second))
    assert await resolver.refresh(name) == {alias}
    answer = await resolver.resolve(alias)
    assert isinstance(answer, Resolved)
    assert answer.model.run_id == second
