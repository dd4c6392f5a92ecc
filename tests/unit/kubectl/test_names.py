"""What the plug-in knows of the operator without importing it, compared with the operator itself."""

from pathlib import Path

import yaml

from fairlead_kubectl import cluster, decide, expected, reading
from fairlead_operator import api
from fairlead_operator.desired import naming
from tests.unit.operator import samples

ROOT = Path(__file__).parents[3]


def test_names_are_the_operators() -> None:
    assert f"{api.PLURAL}.{api.GROUP}" == cluster.RESOURCE
    assert api.OWNER_LABEL == reading.OWNER_LABEL
    assert api.RUN_LABEL == reading.RUN_LABEL
    assert api.TRACK_LABEL == reading.TRACK_LABEL
    assert api.REVISION_LABEL == reading.REVISION_LABEL
    assert (reading.CANDIDATE, reading.STABLE) == (api.CANDIDATE, api.STABLE)
    assert (decide.PROMOTE, decide.ABORT) == (api.PROMOTE_ANNOTATION, api.ABORT_ANNOTATION)
    assert api.APPROVE_ANNOTATION == decide.APPROVE


def test_children_of_long_names_are_found_by_the_status() -> None:
    md = samples.md("9.an.odd.name." + "x" * 80)
    selector = ",".join(f"{key}={value}" for key, value in naming.track_selector(md, api.STABLE).items())
    resource = {"metadata": {"name": md.metadata.name}, "status": {"selector": selector}}
    assert reading.child_name(resource) == naming.child_name(md.metadata.name)
    assert reading.child_name({"metadata": {"name": "fraud"}}) == "fraud"


def test_what_doctor_expects_is_what_the_manifests_have() -> None:
    rules = yaml.safe_load((ROOT / "manifests/operator-rules.yaml").read_text())["rules"]
    wanted = {
        (group, kind, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for kind in rule["resources"]
        for verb in rule["verbs"]
    }
    assert set(expected.rights()) == wanted
    assert {"spec.model.uri", "spec.cache.redis.url", "status.candidate.checks.value"} <= expected.fields()
