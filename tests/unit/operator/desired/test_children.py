"""Properties all children share."""

import copy
import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead_operator.api import RUN_LABEL
from fairlead_operator.desired import desired, naming
from fairlead_operator.desired.pods import Template
from tests.unit.operator import samples

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
templates = st.builds(
    Template, samples.models, st.sampled_from(["predictor:1", "predictor:2"]), st.one_of(st.none(), st.integers(0, 9))
)


def containers_of(value: Any, found: list[int]) -> list[int]:
    """Identities of all mutable parts."""
    if isinstance(value, dict | list):
        found.append(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            containers_of(part, found)
    return found


@given(samples.mds, templates)
def test_deterministic_and_leaves_its_input_alone(md: Any, template: Template) -> None:
    before = copy.deepcopy((md, template))
    assert desired(md, template, samples.DEFAULTS) == desired(md, template, samples.DEFAULTS)
    assert (md, template) == before


@given(samples.mds, templates)
def test_no_two_share_a_mutable_part(md: Any, template: Template) -> None:
    first, second = (desired(md, template, samples.DEFAULTS) for _ in range(2))
    parts = (
        containers_of(first.manifests, []) + containers_of(second.manifests, []) + containers_of(md.model_dump(), [])
    )
    assert len(parts) == len(set(parts))


@given(samples.mds, templates)
def test_one_controller_owner_and_legal_names(md: Any, template: Template) -> None:
    for child in desired(md, template, samples.DEFAULTS).manifests:
        owners = child["metadata"]["ownerReferences"]
        assert [owner["uid"] for owner in owners] == [md.metadata.uid]
        assert owners[0]["controller"]
        assert DNS_LABEL.fullmatch(child["metadata"]["name"])
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())


@given(samples.mds, templates, templates)
def test_names_selectors_and_services_do_not_depend_on_the_model(md: Any, one: Template, other: Template) -> None:
    these, those = (desired(md, template, samples.DEFAULTS).manifests for template in (one, other))
    for first, second in zip(these, those, strict=True):
        assert first["metadata"] == second["metadata"]
        if first["kind"] == "Deployment":
            assert first["spec"]["selector"] == second["spec"]["selector"]
        else:
            assert first == second


@given(samples.mds, templates)
def test_everything_selects_the_pods(md: Any, template: Template) -> None:
    children = {child["kind"]: child["spec"] for child in desired(md, template, samples.DEFAULTS).manifests}
    labels = children["Deployment"]["template"]["metadata"]["labels"]
    selectors = [
        children["Deployment"]["selector"]["matchLabels"],
        children["Service"]["selector"],
        children["NetworkPolicy"]["podSelector"]["matchLabels"],
    ]
    if budget := children.get("PodDisruptionBudget"):
        selectors.append(budget["selector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert labels[RUN_LABEL] == template.model.run_id


def test_without_a_model_there_is_no_deployment() -> None:
    kinds = [child["kind"] for child in desired(samples.md(), None, samples.DEFAULTS).manifests]
    assert kinds == ["Service", "NetworkPolicy", "PodDisruptionBudget"]


@given(samples.names, samples.names)
def test_two_resources_have_two_names(one: str, other: str) -> None:
    assume(one != other)
    assert naming.child_name(one) != naming.child_name(other)


def test_short_plain_names_stay_as_they_are() -> None:
    assert naming.child_name("fraud") == "fraud"
    assert naming.child_name("fraud.eu").startswith("fraud-eu-")
    assert naming.child_name("7up").startswith("m-7up-")
