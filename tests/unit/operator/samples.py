"""ModelDeployments for tests, fixed and drawn."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from fairlead_operator.api import ModelDeployment, ModelRef
from fairlead_operator.desired import naming as naming
from fairlead_operator.desired.pods import PodDefaults
from fairlead_operator.desired.surroundings import Surroundings

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
autoscalings = st.fixed_dictionaries(
    {"maxReplicas": st.integers(3, 9)},
    optional={
        "minReplicas": st.integers(1, 3),
        "inFlightRequestsPerPod": st.integers(1, 100),
        "engine": st.sampled_from(["KEDA", "HPA"]),
    },
)
service_levels = st.fixed_dictionaries(
    {},
    optional={
        "latencyMilliseconds": st.sampled_from([1, 2, 200, 250, 10_000, 600_000]),
        "successPercent": st.sampled_from(["0", "90", "99.5", "99.999", "100"]),
    },
)
measured_mds = st.builds(
    lambda name, spec, scaling, slo: md(
        name, **({**spec, **scaling, "slo": slo} if slo is not None else spec | scaling)
    ),
    names,
    specs.map(lambda spec: {key: value for key, value in spec.items() if key != "replicas"}),
    st.one_of(
        st.fixed_dictionaries({"replicas": st.integers(0, 20)}), st.fixed_dictionaries({"autoscaling": autoscalings})
    ),
    st.one_of(st.none(), service_levels),
)
"""With everything that `Surroundings` are for."""
surroundings = st.builds(
    Surroundings,
    prometheus_url=st.sampled_from([None, "http://prometheus:9090"]),
    autoscaling_engine=st.sampled_from(["KEDA", "HPA"]),
    scaling_window_seconds=st.integers(10, 300),
    scale_up_window_seconds=st.integers(0, 3600),
    scale_down_window_seconds=st.integers(0, 3600),
    monitoring_labels=st.sampled_from([{}, {"release": "monitoring"}]),
)
