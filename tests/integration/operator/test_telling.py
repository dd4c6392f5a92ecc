"""Verdicts as a real MLflow keeps them."""

from typing import Any

from fairlead_operator.api import Reason, Rejection, Serving, Status
from fairlead_operator.mlflow import MLflow
from fairlead_operator.registrar import Registrar
from fairlead_operator.store import Key
from tests.controlplane.cluster import Registry
from tests.unit.operator.samples import NOW

KEY = Key("ml", "fraud")
TAG = "fairlead.ml.fraud"


def serving(run_id: str, **fields: Any) -> Status:
    return Status(serving=Serving(run_id=run_id, since=NOW, **fields))


def tag_of_version(registry: Registry, name: str, version: str) -> str | None:
    answer = registry.client.get("model-versions/get", params={"name": name, "version": version})
    return _tag(answer.json()["model_version"])


def tag_of_run(registry: Registry, run_id: str) -> str | None:
    return _tag(registry.client.get("runs/get", params={"run_id": run_id}).json()["run"]["data"])


def _tag(raw: dict[str, Any]) -> str | None:
    return {tag["key"]: str(tag["value"]) for tag in raw.get("tags", [])}.get(TAG)


async def test_tags_of_versions_and_runs(registry: Registry, name: str, mlflow: MLflow) -> None:
    first, second = registry.run(), registry.run()
    one = {"model_name": name, "model_version": registry.version(name, first)}
    registrar = Registrar(mlflow)
    by_version, by_run = serving(first, **one), serving(second)
    assert (await registrar.tell(KEY, Status(), by_version)).untold == ()
    assert tag_of_version(registry, name, "1") == "Serving"
    message = "No module named 'xgboost' \u2026 ünï" * 100
    refused = Rejection(run_id=second, reason=Reason.LOAD_FAILED, message=message, trial="t", at=NOW)
    rejected = by_version.model_copy(update={"rejected": (refused,)})
    assert (await registrar.tell(KEY, by_version, rejected)).untold == ()
    assert (tag_of_run(registry, second) or "").startswith("RolledBack: LoadFailed: No module named 'xgboost' … ünï")
    assert (await registrar.tell(KEY, rejected, by_run)).untold == ()
    assert tag_of_version(registry, name, "1") == "Replaced"
    assert tag_of_run(registry, second) == "Serving"
    assert tag_of_run(registry, first) is None, "its version has the tag"


async def test_what_is_deleted_is_dropped(registry: Registry, name: str, mlflow: MLflow) -> None:
    run_id = registry.run()
    gone = serving(run_id, model_name=name, model_version="7")
    assert (await Registrar(mlflow).tell(KEY, Status(), gone)).untold == ()
    registry.post("runs/delete", run_id=run_id)
    assert (await Registrar(mlflow).tell(KEY, Status(), serving(run_id))).untold == ()
