"""Whether an object shows that nothing has to be applied: no where it matters, yes in all other cases."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api import ModelDeployment
from fairlead_operator.desired import desired
from fairlead_operator.desired.pods import Template
from fairlead_operator.standing import digest, essence, stamped, stands
from tests.unit.operator.samples import DEFAULTS, md, mds, model

TEMPLATE = Template(model(), "predictor:1", 2)
WANTED = {manifest["kind"]: stamped(manifest) for manifest in desired(md(), TEMPLATE, DEFAULTS).manifests}


def stored(obj: Any) -> Any:
    """As an API server gives it back: with defaults of its own, and without what is empty."""
    if isinstance(obj, dict):
        kept = {key: stored(value) for key, value in obj.items() if value not in ("", {}, [], None)}
        return {key: value for key, value in kept.items() if (key, value) != ("readOnly", False)} | {"default": 1}
    return [stored(entry) for entry in obj] if isinstance(obj, list) else obj


def paths(obj: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """To every value that is not empty."""
    if isinstance(obj, dict | list):
        entries = obj.items() if isinstance(obj, dict) else enumerate(obj)
        return [path for key, value in entries for path in paths(value, (*at, key))]
    return [] if obj in ("", None, False) else [at]


def edited(obj: Any, path: tuple[Any, ...], remove: bool) -> Any:
    found = copy.deepcopy(obj)
    place = found
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = "edited"
    return found


@given(mds)
def test_what_was_applied_stands(resource: ModelDeployment) -> None:
    for manifest in desired(resource, TEMPLATE, DEFAULTS).manifests:
        assert stands(stored(stamped(manifest)), stamped(manifest))
        assert not stands(stored(manifest), stamped(manifest)), "whoever has applied it, it was not this manifest"


@pytest.mark.parametrize("kind", WANTED)
@given(data=st.data(), remove=st.booleans())
def test_no_edit_of_what_we_set_escapes(kind: str, data: st.DataObject, remove: bool) -> None:
    wanted = WANTED[kind]
    path = data.draw(st.sampled_from(paths(wanted)))
    assert not stands(edited(wanted, path, remove), wanted)


def test_what_is_wanted_less_than_before_does_not_stand() -> None:
    before = desired(md(nodeSelector={"zone": "a"}), TEMPLATE, DEFAULTS).manifests[-1]
    assert not stands(stored(stamped(before)), WANTED["Deployment"])


def test_what_others_add_is_theirs() -> None:
    live = copy.deepcopy(WANTED["Deployment"])
    live["metadata"]["annotations"]["example.com/mine"] = "yes"
    live["spec"]["paused"] = True
    live["status"] = {"replicas": 1}
    assert stands(live, WANTED["Deployment"])


def test_the_stamp_is_of_the_manifest_and_changes_nothing_in_it() -> None:
    manifest = {"metadata": {"name": "a", "annotations": {"b": "c"}}, "spec": {"x": 1}}
    before = copy.deepcopy(manifest)
    result = stamped(manifest)
    assert manifest == before
    assert result["metadata"]["annotations"].items() >= {("b", "c")}
    assert result == stamped(manifest)
    assert result != stamped({**manifest, "spec": {"x": 2}})


def test_the_essence_is_what_an_apply_could_put_right() -> None:
    wanted: dict[str, Any] = {"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"a": [1]}}
    noise = copy.deepcopy(wanted) | {"status": {"replicas": 1}}
    noise["metadata"] |= {"resourceVersion": "2", "annotations": {}}
    assert essence(noise, wanted) == digest(wanted)
    for change in ({"spec": {"a": [1, 2]}}, {"metadata": {"name": "a", "labels": {}}}):
        assert essence({**wanted, **change}, wanted) != digest(wanted)
