"""Argo CD's view of a ModelDeployment: the Lua script is run as Argo CD runs it, on statuses the operator writes."""

from typing import Any

import pytest
import yaml
from lupa.lua54 import LuaRuntime

from fairlead_operator.api import Reason
from tests.chart.rendering import ROOT, crd_validator, documents

HEALTH = ROOT / "manifests/argocd/health.lua"
CASES = yaml.safe_load((HEALTH.parent / "health_test.yaml").read_text())["tests"]


def as_lua(runtime: Any, value: Any) -> Any:
    """JSON as Argo CD hands it to Lua: objects and lists become tables."""
    if isinstance(value, dict):
        return runtime.table_from({key: as_lua(runtime, inner) for key, inner in value.items()})
    if isinstance(value, list):
        return runtime.table_from([as_lua(runtime, inner) for inner in value])
    return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["inputPath"])
def test_argo_cd_health(case: dict[str, Any]) -> None:
    """Argo CD's own format of health tests, so that they can be handed to Argo CD as they are."""
    (resource,) = documents(HEALTH.parent / case["inputPath"])
    assert not [error.message for error in crd_validator().iter_errors(resource)]
    conditions = resource.get("status", {}).get("conditions", [])
    assert {condition["reason"] for condition in conditions} <= set(Reason), "the operator gives no such reason"
    runtime = LuaRuntime()
    runtime.globals().obj = as_lua(runtime, resource)
    health = runtime.execute(HEALTH.read_text())
    assert {"status": health.status, "message": health.message} == case["healthStatus"]


def test_every_case_of_argo_cd_health_is_listed() -> None:
    assert {case["inputPath"] for case in CASES} == {
        f"testdata/{p.name}" for p in HEALTH.parent.glob("testdata/*.yaml")
    }


def test_argo_cds_config_map_holds_the_script() -> None:
    (config_map,) = documents(HEALTH.parent / "argocd-cm.yaml")
    assert config_map["data"]["resource.customizations.health.fairlead.dev_ModelDeployment"] == HEALTH.read_text()
