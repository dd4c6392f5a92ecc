"""Fields of the spec that pods and Service are given, and what the operator's settings stand in for."""

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairlead_operator.desired import deployment, desired, naming, service
from fairlead_operator.desired.pods import PodDefaults, Template, Trial
from fairlead_operator.settings import Settings
from tests.unit.operator import samples
from tests.unit.operator.samples import DEFAULTS, RUNS, md, model

CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"


def template(defaults: PodDefaults = DEFAULTS, **spec: Any) -> Any:
    return deployment.build(md(**spec), Template(model(), "i", 1), defaults)["spec"]["template"]


def containers(defaults: PodDefaults = DEFAULTS, **spec: Any) -> tuple[Any, Any]:
    pod = template(defaults, **spec)["spec"]
    return pod["initContainers"][0], pod["containers"][0]


def variables(container: Any) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_labels_and_annotations_reach_pods_and_never_replace_ours() -> None:
    metadata = template(podLabels={"team": "risk"}, podAnnotations={"sidecar.istio.io/inject": "false"})["metadata"]
    assert metadata["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert metadata["labels"] == template()["metadata"]["labels"] | {
        "team": "risk",
        "fairlead.dev/revision": metadata["labels"]["fairlead.dev/revision"],
    }
    assert "annotations" not in template()["metadata"]


@given(st.dictionaries(st.sampled_from(["team", "example.com/team", "version"]), st.sampled_from(["a", "b"])))
def test_selectors_do_not_depend_on_labels(labels: dict[str, str]) -> None:
    labelled = md(podLabels=labels, service={"labels": labels})
    (one, other) = (desired(one, Template(model(), "i", 2), DEFAULTS).manifests for one in (labelled, md()))
    for mine, theirs in zip(one, other, strict=True):
        assert mine["spec"].get("selector") == theirs["spec"].get("selector")
        assert mine["metadata"]["labels"].items() >= theirs["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["fairlead.dev/track", "app.kubernetes.io/name", "app.kubernetes.io/instance"])
def test_our_labels_are_refused(name: str) -> None:
    for spec in ({"podLabels": {name: "x"}}, {"service": {"labels": {name: "x"}}}):
        with pytest.raises(ValidationError, match=name):
            md(**spec)


def test_the_service_is_as_wished_and_the_canarys_is_not() -> None:
    wished = md(service={"type": "LoadBalancer", "annotations": {"a/b": "c"}, "labels": {"team": "risk"}})
    built, plain = service.build(wished), service.build(md())
    assert built["spec"] == plain["spec"] | {"type": "LoadBalancer"}
    assert built["metadata"]["annotations"] == {"a/b": "c"}
    assert built["metadata"]["labels"]["team"] == "risk"
    assert (plain["spec"]["type"], "annotations" in plain["metadata"]) == ("ClusterIP", False)
    assert service.build_candidate(wished) == service.build_candidate(md())


def test_pods_that_say_nothing_of_resources_are_not_the_first_to_be_evicted() -> None:
    for container in containers():
        assert container["resources"] == {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": "2Gi"},
        }
    none = Settings(
        predictor_image="i", mlflow_tracking_uri="http://m", default_requests="none", default_limits=" none "
    )
    assert all("resources" not in container for container in containers(none.pods))
    own = Settings(predictor_image="i", mlflow_tracking_uri="http://m", default_requests="cpu=1, memory=1Gi")
    assert containers(own.pods)[0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


def test_the_loader_may_have_resources_of_its_own() -> None:
    theirs, its = {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "8Gi"}}
    assert [one["resources"] for one in containers(resources=theirs)] == [theirs, theirs]
    assert [one["resources"] for one in containers(resources=theirs, loader={"resources": its})] == [its, theirs]
    loader, server = containers(loader={"resources": its})
    assert loader["resources"] == its
    assert server["resources"] == containers()[1]["resources"]


def test_scratch_volumes_are_bounded() -> None:
    def sizes(defaults: PodDefaults = DEFAULTS, **spec: Any) -> dict[str, Any]:
        volumes = template(defaults, **spec)["spec"]["volumes"]
        return {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in volumes}

    assert sizes() == {"bundle": "8Gi", "tmp": "1Gi"}
    assert sizes(storage={"bundleSizeLimit": "20Gi"}) == {"bundle": "20Gi", "tmp": "1Gi"}
    assert sizes(replace(DEFAULTS, tmp_size_limit="2Gi"), storage={}) == {"bundle": "8Gi", "tmp": "2Gi"}


def test_pods_are_spread_over_nodes_or_as_wished_or_not_at_all() -> None:
    selector = {"matchLabels": naming.selector(md())}

    def spread(**spec: Any) -> Any:
        return template(**spec)["spec"]["topologySpreadConstraints"]

    (usual,) = spread()
    assert usual == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    zones = {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}
    assert spread(topologySpreadConstraints=[zones]) == [zones | {"maxSkew": 1, "labelSelector": selector}]
    assert spread(topologySpreadConstraints=[]) == []


def test_priority_and_grace() -> None:
    pod = template(priorityClassName="high", terminationGracePeriodSeconds=300)["spec"]
    assert (pod["priorityClassName"], pod["terminationGracePeriodSeconds"]) == ("high", 300)
    assert template()["spec"]["terminationGracePeriodSeconds"] == 30
    with pytest.raises(ValidationError, match="terminationGracePeriodSeconds"):
        md(terminationGracePeriodSeconds=29)


@pytest.mark.parametrize(
    ("default", "spec", "volume"),
    [
        ({"mlflow_ca_config_map": "ca"}, {}, {"configMap": {"name": "ca"}}),
        ({"mlflow_ca_secret": "ca"}, {}, {"secret": {"secretName": "ca", "defaultMode": 0o440}}),
        ({"mlflow_ca_secret": "ca"}, {"mlflow": {"caConfigMapName": "own"}}, {"configMap": {"name": "own"}}),
        ({}, {"mlflow": {"caSecretName": "own"}}, {"secret": {"secretName": "own", "defaultMode": 0o440}}),
    ],
)
def test_loaders_trust_mlflows_authority(default: Any, spec: Any, volume: Any) -> None:
    defaults = replace(DEFAULTS, **default)
    loader, server = containers(defaults, **spec)
    (found,) = [one for one in template(defaults, **spec)["spec"]["volumes"] if one["name"] == "mlflow-ca"]
    (source,) = volume.values()
    assert found == {"name": "mlflow-ca"} | {
        kind: source | {"items": [{"key": "ca.crt", "path": "ca.crt"}]} for kind in volume
    }
    assert {"name": "mlflow-ca", "mountPath": "/etc/fairlead/mlflow-ca", "readOnly": True} in loader["volumeMounts"]
    assert variables(loader)[CA] == "/etc/fairlead/mlflow-ca/ca.crt"
    assert CA not in variables(server), "a server does not speak with MLflow"
    assert "mlflow-ca" not in {mount["name"] for mount in server["volumeMounts"]}


def test_a_variable_of_the_user_names_another_authority() -> None:
    defaults = replace(DEFAULTS, mlflow_ca_config_map="ca")
    loader, _ = containers(defaults, env=[{"name": CA, "value": "/mine/ca.crt"}])
    assert [entry["value"] for entry in loader["env"] if entry["name"] == CA] == ["/mine/ca.crt"]


def test_at_most_one_source_of_the_authority() -> None:
    with pytest.raises(ValidationError, match="exactly one of caConfigMapName and caSecretName"):
        md(mlflow={"caConfigMapName": "a", "caSecretName": "b"})
    with pytest.raises(ValidationError, match="at most one of MLFLOW_CA_CONFIGMAP and MLFLOW_CA_SECRET"):
        Settings(predictor_image="i", mlflow_tracking_uri="http://m", mlflow_ca_configmap="a", mlflow_ca_secret="b")


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_kubernetes_accepts_all_of_it(version: str) -> None:
    full = samples.md(
        replicas=2,
        model={"runID": RUNS[0]},
        podLabels={"a": "b"},
        podAnnotations={"a": "b"},
        priorityClassName="high",
        topologySpreadConstraints=[{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}],
        terminationGracePeriodSeconds=60,
        service={"type": "NodePort", "annotations": {"a": "b"}},
        loader={"resources": {"requests": {"cpu": 1}}},
        storage={"bundleSizeLimit": "1Gi", "tmpSizeLimit": 1_000_000},
        mlflow={"caConfigMapName": "ca"},
    )
    children = desired(full, Template(model(), "i", 2), DEFAULTS, Trial(model(RUNS[1]), "i", 1))
    for child in children.manifests:
        kubernetes_validate.validate(json.loads(json.dumps(child)), version, strict=True)
