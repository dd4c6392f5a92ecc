"""manifests/crd.yaml and the pydantic models say the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from fairlead_operator import api
from fairlead_operator.api import ModelDeployment, Status
from fairlead_operator.spec import Spec, contract_variables
from tests.unit.operator.samples import raw

FILE = Path(__file__).parents[3] / "manifests/crd.yaml"
CRD = yaml.safe_load(FILE.read_text())
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]["properties"]
OPAQUE = {"limits", "requests", "nodeSelector", "tolerations", "affinity", "valueFrom"}
"""Handed on as they are: their parts are Kubernetes' own."""


def properties(model: type[BaseModel]) -> dict[str, Any]:
    """Every field by its path, with its default, from pydantic's own schema."""
    schema = model.model_json_schema(by_alias=True)
    return dict(_walk(schema, schema.get("$defs", {}), ""))


def _walk(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Any:
    for name, part in schema.get("properties", {}).items():
        options = [option for option in part.get("anyOf", [part]) if option.get("type") != "null"]
        inner = options[0].get("items", options[0]) if options else {}
        if isinstance(inner.get("$ref"), str):
            inner = definitions[inner["$ref"].rsplit("/", 1)[1]]
        yield f"{prefix}{name}", part.get("default")
        if name not in OPAQUE:
            yield from _walk(inner, definitions, f"{prefix}{name}.")


def crd_properties(schema: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in schema.get("properties", {}).items():
        found[f"{prefix}{name}"] = part
        if name not in OPAQUE:
            found |= crd_properties(part.get("items", part), f"{prefix}{name}.")
    return found


@pytest.mark.parametrize(("model", "part"), [(Spec, "spec"), (Status, "status")])
def test_the_same_fields(model: type[BaseModel], part: str) -> None:
    assert set(crd_properties(SCHEMA[part])) == set(properties(model))


def test_the_same_defaults() -> None:
    ours = properties(Spec)
    for path, part in crd_properties(SCHEMA["spec"]).items():
        if "default" in part and part["default"] != {}:
            assert ours[path] == part["default"], path


def test_a_resource_that_nobody_has_looked_at_is_not_done() -> None:
    """kstatus, which Flux and Helm wait by, takes an object without a status for current."""
    assert SCHEMA["status"]["default"] == {"observedGeneration": api.UNSEEN}
    assert api.read_status(SCHEMA["status"]["default"]) == Status()


def test_the_same_limits() -> None:
    field = crd_properties(SCHEMA["spec"])["rollout.progressDeadlineSeconds"]
    for seconds in (field["minimum"] - 1, field["maximum"] + 1):
        with pytest.raises(ValueError, match="progressDeadlineSeconds"):
            ModelDeployment.model_validate(raw(rollout={"progressDeadlineSeconds": seconds}))


def test_the_same_names() -> None:
    assert CRD["spec"]["group"] == api.GROUP
    assert CRD["spec"]["names"]["kind"] == api.KIND
    assert CRD["spec"]["names"]["plural"] == api.PLURAL
    assert CRD["spec"]["names"]["shortNames"] == ["mdeploy", "md"]
    assert VERSION["name"] == api.VERSION


def test_our_variables_are_refused_in_env_by_both() -> None:
    rule = SCHEMA["spec"]["properties"]["env"]["items"]["properties"]["name"]["x-kubernetes-validations"][0]["rule"]
    for name in contract_variables():
        assert f"'{name}'" in rule
        with pytest.raises(ValueError, match=name):
            ModelDeployment.model_validate(raw(env=[{"name": name, "value": "x"}]))
    assert rule.count("'") == 2 * len(contract_variables())


def test_every_message_says_what_must_be() -> None:
    def messages(part: Any) -> Any:
        if isinstance(part, dict):
            for rule in part.get("x-kubernetes-validations", []):
                yield rule["message"]
            for value in part.values():
                yield from messages(value)

    found = list(messages(SCHEMA))
    assert found
    assert all(message.startswith("must be") for message in found)


def test_it_stays_small() -> None:
    assert FILE.stat().st_size < 60_000
