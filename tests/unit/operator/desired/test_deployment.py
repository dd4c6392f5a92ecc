"""The Deployment and its pods."""

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead_operator import contract
from fairlead_operator.desired import deployment, desired
from fairlead_operator.desired.pods import PodDefaults, Template
from tests.unit.operator import samples
from tests.unit.operator.samples import DEFAULTS


def build(md: Any, replicas: int | None = None, model: Any = None, defaults: PodDefaults = DEFAULTS) -> Any:
    return deployment.build(md, Template(model or samples.model(), defaults.image, replicas), defaults)["spec"]


def pod(spec: Any) -> Any:
    return spec["template"]["spec"]


@given(samples.mds, samples.models, samples.models)
def test_another_run_is_another_pod_template(md: Any, one: Any, other: Any) -> None:
    assume(one.run_id != other.run_id)
    assert build(md, model=one)["template"] != build(md, model=other)["template"]


@given(samples.mds, st.integers(0, 9), st.integers(0, 9))
def test_other_replicas_are_the_same_pod_template(md: Any, one: int, other: int) -> None:
    assert build(md, one)["template"] == build(md, other)["template"]


@given(samples.mds)
def test_replicas_are_left_out_exactly_if_somebody_else_sets_them(md: Any) -> None:
    assert "replicas" not in build(md, None)
    assert build(md, 0)["replicas"] == 0


@given(samples.mds, samples.models)
def test_the_revision_stands_for_the_template(md: Any, model: Any) -> None:
    template = build(md, model=model)["template"]
    changed = md.model_copy(update={"spec": md.spec.model_copy(update={"replicas": 7, "suspend": True})})
    assert template["metadata"]["labels"]["fairlead.dev/revision"] == deployment.revision(
        changed, model, DEFAULTS.image, DEFAULTS
    )


@pytest.mark.parametrize(
    ("own", "default", "wanted"),
    [(None, "Minor", None), (None, "Warn", "warn"), ("Strict", "Warn", "strict"), ("Minor", "Strict", None)],
)
def test_the_version_policy_is_the_resources_or_the_operators(
    own: str | None, default: Any, wanted: str | None
) -> None:
    """Said only if it is another than the loader's own: an operator that is new to it must not roll anything."""
    md = samples.md(model={"runID": samples.RUNS[0]} | ({"versionPolicy": own} if own else {}))
    spec = pod(build(md, defaults=replace(DEFAULTS, version_policy=default)))
    for container in spec["initContainers"] + spec["containers"]:
        given = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert given.get(contract.ENV_VERSION_POLICY) == wanted


@given(samples.mds, samples.models)
def test_pods_meet_the_restricted_standard(md: Any, model: Any) -> None:
    spec = pod(build(md, model=model))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["initContainers"] + spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert {tuple(set(volume) - {"name"}) for volume in spec["volumes"]} == {("emptyDir",)}


@given(samples.mds, samples.models)
def test_the_contract_reaches_both_containers_once(md: Any, model: Any) -> None:
    spec = pod(build(md, model=model))
    for container in spec["initContainers"] + spec["containers"]:
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names))
        values = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert values[contract.ENV_RUN_ID] == model.run_id
        assert values[contract.ENV_MODEL_URI] == model.model_uri
        assert values[contract.ENV_BUNDLE_DIR] == "/bundle/current"
        assert values[contract.ENV_TRACKING_URI] == DEFAULTS.tracking_uri


@given(samples.mds, samples.models)
def test_a_pod_has_time_to_drain(md: Any, model: Any) -> None:
    spec = pod(build(md, model=model))
    drain = next(v["value"] for v in spec["containers"][0]["env"] if v["name"] == contract.ENV_DRAIN_SECONDS)
    assert spec["terminationGracePeriodSeconds"] >= int(drain) + 25


def test_only_the_loader_writes_the_bundle_and_has_credentials() -> None:
    defaults = PodDefaults(image="i", tracking_uri="http://m:5000", mlflow_credentials_secret="mlflow")
    spec = pod(build(samples.md(), defaults=defaults))
    loader, server = spec["initContainers"][0], spec["containers"][0]
    assert loader["volumeMounts"][0] == {"name": "bundle", "mountPath": "/bundle", "readOnly": False}
    assert server["volumeMounts"][0]["readOnly"] is True
    assert loader["envFrom"] == [{"secretRef": {"name": "mlflow", "optional": True}}]
    assert "envFrom" not in server
    assert (loader["terminationMessagePolicy"], server["terminationMessagePolicy"]) == ("File", "FallbackToLogsOnError")


def test_a_user_may_send_traces_elsewhere() -> None:
    defaults = PodDefaults(image="i", tracking_uri="http://m", otlp_endpoint="http://jaeger:4318")
    env = [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://mine:4318"}]
    variables = pod(build(samples.md(env=env), defaults=defaults))["containers"][0]["env"]
    sent = {v["name"]: v["value"] for v in variables if v["name"].startswith("OTEL")}
    assert len(sent) == len([v for v in variables if v["name"].startswith("OTEL")])
    assert sent == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://mine:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_kubernetes_accepts_all_children(version: str) -> None:
    full = samples.md(
        replicas=2,
        resources={"limits": {"cpu": 1}},
        env=[{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        imagePullSecrets=[{"name": "r"}],
        tolerations=[{"key": "gpu", "operator": "Exists"}],
    )
    for child in desired(full, Template(samples.model(), "i", 2), DEFAULTS).manifests:
        kubernetes_validate.validate(json.loads(json.dumps(child)), version, strict=True)


@pytest.mark.parametrize(("replicas", "surge"), [(0, 2), (1, 2), (2, 2), (8, 2), (9, 3), (40, 10), (None, "25%")])
def test_a_small_model_rolls_in_one_go(replicas: int | None, surge: int | str) -> None:
    built = deployment.build(samples.md(), Template(samples.model(), "i", replicas), DEFAULTS)
    assert built["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": surge}


def test_the_template_of_a_plain_resource_has_not_changed() -> None:
    """Another value restarts every pod of every user who upgrades the operator. Change it only for a reason, and say
    so in CHANGELOG.md."""
    assert deployment.revision(samples.md(), samples.model(), "predictor:1", DEFAULTS) == "4982058614"
