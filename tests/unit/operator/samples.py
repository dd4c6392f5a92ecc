"""ModelDeployments for tests, fixed and drawn."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from fairlead_operator.api import ModelDeployment, ModelRef
from fairlead_operator.desired import naming as naming
from fairlead_operator.desired.pods import PodDefaults

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DEFAULTS = PodDefaults(image="predictor:1", tracking_uri="http://mlflow.fairlead:5000")
RUNS = tuple(digit * 32 for digit in "abcd")


def raw(name: str = "fraud", generation: int = 1, **spec: Any) -> dict[str, Any]:
    """A stored ModelDeployment."""
    metadata = {"name": name, "namespace": "ml", "uid": "uid-1", "generation": generation, "resourceVersion": "1"}
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": metadata,
        "spec": {"model": {"runID": RUNS[0]}, **spec},
    }


def md(name: str = "fraud", **spec: Any) -> ModelDeployment:
    return ModelDeployment.model_validate(raw(name, **spec))


def model(run_id: str = RUNS[0], **fields: Any) -> ModelRef:
    return ModelRef(run_id=run_id, model_uri=f"runs:/{run_id}/model", **fields)


_dns_label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,80}[a-z0-9])?", fullmatch=True)
names = st.lists(_dns_label, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 253)
"""Every name a custom resource may have (RFC 1123 subdomains)."""

models = st.builds(
    model,
    st.sampled_from(RUNS),
    model_name=st.sampled_from([None, "fraud"]),
    model_version=st.sampled_from([None, "1", "12"]),
)

specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 20),
        "image": st.sampled_from(["own:1", "own:2"]),
        "resources": st.sampled_from([{"limits": {"cpu": "1"}}, {"limits": {"memory": "1Gi"}, "requests": {"cpu": 1}}]),
        "nodeSelector": st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from(["a", "b"])),
        "tolerations": st.lists(st.fixed_dictionaries({"key": st.just("gpu"), "operator": st.just("Exists")})),
        "affinity": st.just({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
        "env": st.sampled_from(
            [
                [],
                [{"name": "A", "value": "1"}],
                [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            ]
        ),
        "imagePullSecrets": st.just([{"name": "registry"}]),
        "serviceAccountName": st.just("reader"),
        "suspend": st.booleans(),
        "historyLimit": st.integers(0, 5),
        "rollout": st.just({"strategy": "Rolling", "progressDeadlineSeconds": 60}),
    },
)
mds = st.builds(lambda name, spec: md(name, **spec), names, specs)
