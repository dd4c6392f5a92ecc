"""Pods that swap models: the run is in a ConfigMap, and nothing about the pods depends on it."""

import hashlib
import json
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator import api, contract
from fairlead_operator.desired import deployment, desired, naming
from fairlead_operator.desired.pods import PodDefaults, Template, load_token
from tests.unit.operator import samples
from tests.unit.operator.samples import DEFAULTS

SWAP = {"rollout": {"strategy": "HotSwap"}}
SECURED = PodDefaults(
    image="predictor:1", tracking_uri="http://m:5000", mlflow_credentials_secret="mlflow", load_key="k" * 32
)
swapping = st.builds(
    lambda name, spec: samples.md(name, **spec, **SWAP),
    samples.names,
    samples.specs.map(lambda spec: {key: value for key, value in spec.items() if key != "rollout"}),
)


def children(md: Any, model: Any, defaults: PodDefaults = DEFAULTS) -> dict[str, Any]:
    found = desired(md, Template(model, defaults.image, 2), defaults).manifests
    return {child["kind"]: child for child in found}


def environment(container: Any) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@given(swapping, samples.models, samples.models)
def test_another_run_is_the_same_deployment_and_another_configmap(md: Any, one: Any, other: Any) -> None:
    these, those = children(md, one), children(md, other)
    assert these.pop("ConfigMap")["data"] == {
        "FAIRLEAD_RUN_ID": one.run_id,
        "FAIRLEAD_MODEL_URI": one.model_uri,
        "FAIRLEAD_MODEL_NAME": one.model_name or "",
        "FAIRLEAD_MODEL_VERSION": one.model_version or "",
    }
    those.pop("ConfigMap")
    assert these == those
    assert deployment.revision(md, one, "i", DEFAULTS) == deployment.revision(md, other, "i", DEFAULTS)
    assert api.RUN_LABEL not in these["Deployment"]["spec"]["template"]["metadata"]["labels"]


@given(swapping, samples.models)
def test_the_loader_reads_the_run_and_the_server_can_swap(md: Any, model: Any) -> None:
    pod = children(md, model, SECURED)["Deployment"]["spec"]["template"]["spec"]
    loader, server = pod["initContainers"][0], pod["containers"][0]
    name = naming.child_name(md.metadata.name)
    credentials = {"secretRef": {"name": "mlflow", "optional": True}}
    assert loader["envFrom"] == [{"configMapRef": {"name": name}}, credentials]
    assert server["envFrom"] == [credentials]
    assert server["volumeMounts"][0] == {"name": "bundle", "mountPath": "/bundle", "readOnly": False}
    for container in (loader, server):
        assert not {"FAIRLEAD_RUN_ID", "FAIRLEAD_MODEL_URI", "FAIRLEAD_MODEL_NAME"} & environment(container).keys()
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert environment(server)[contract.ENV_HOT_SWAP] == "true"


@given(swapping, samples.models)
def test_the_configmap_is_ours_and_goes_with_the_resource(md: Any, model: Any) -> None:
    found = children(md, model)
    assert found["ConfigMap"]["metadata"] == found["Deployment"]["metadata"]


def test_a_pod_learns_the_digest_of_its_own_token_only() -> None:
    one, other = (samples.md(name, **SWAP) for name in ("one", "other"))
    token = load_token(one, SECURED)
    assert token is not None
    assert token != load_token(other, SECURED)
    pod = children(one, samples.model(), SECURED)["Deployment"]["spec"]["template"]
    known = environment(pod["spec"]["containers"][0])[contract.ENV_LOAD_TOKEN_SHA256]
    assert known == hashlib.sha256(token.encode()).hexdigest()
    assert token not in json.dumps(pod)
    assert "k" * 32 not in json.dumps(pod) + repr(SECURED)
    assert load_token(one, DEFAULTS) is None


def test_pods_that_keep_rows_ask_for_the_token_too() -> None:
    def known(md: Any) -> dict[str, Any]:
        pod = children(md, samples.model(), SECURED)["Deployment"]["spec"]["template"]["spec"]
        return environment(pod["containers"][0])

    keeping = known(samples.md(rollout={"strategy": "Canary", "replaySamples": 5}))
    assert keeping[contract.ENV_REPLAY_SAMPLES] == "5"
    assert contract.ENV_LOAD_TOKEN_SHA256 in keeping
    assert contract.ENV_HOT_SWAP not in keeping
    assert contract.ENV_LOAD_TOKEN_SHA256 not in known(samples.md())


def test_only_pods_that_swap_have_one() -> None:
    assert "ConfigMap" not in children(samples.md(), samples.model())
    kept = desired(samples.md(**SWAP), None, DEFAULTS)
    assert ("ConfigMap", "fraud") in kept.places, "suspended: what new pods start with is left alone"
    assert all(child["kind"] != "ConfigMap" for child in kept.manifests)


@pytest.mark.parametrize("strategy", ["Rolling", "Canary", "HotSwap"])
def test_what_is_recorded_may_differ_from_what_is_rolled_out_and_needs_no_template(strategy: str) -> None:
    md, one, other = samples.md(rollout={"strategy": strategy}), samples.model(samples.RUNS[0]), samples.model("b" * 32)
    for template in (None, Template(one, "i", 2)):
        found = {child["kind"]: child for child in desired(md, template, DEFAULTS, recorded=other).manifests}
        assert found["ConfigMap"]["data"]["FAIRLEAD_RUN_ID"] == other.run_id
        assert ("Deployment" in found) is (template is not None)


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_kubernetes_accepts_them(version: str) -> None:
    for child in children(samples.md(**SWAP), samples.model(), SECURED).values():
        kubernetes_validate.validate(json.loads(json.dumps(child)), version, strict=True)
