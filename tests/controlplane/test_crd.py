"""What the API server accepts, and what it says about the rest."""

import json
from typing import Any

import pytest

from tests.controlplane.cluster import GROUP, Api, md
from tools.localcluster.controlplane import ControlPlane

RUN = "0123456789abcdef" * 2

ACCEPTED: dict[str, dict[str, Any]] = {
    "run": {"model": {"runID": RUN}},
    "alias": {"model": {"uri": "models:/fraud@champion"}},
    "version": {"model": {"uri": "models:/my fraud model/12"}},
    "run with a path": {"model": {"uri": f"runs:/{RUN}/some/model"}},
    "run with a slash at the end": {"model": {"uri": f"runs:/{RUN}/model/"}},
    "logged model": {"model": {"uri": f"models:/m-{RUN}"}},
    "whole bytes": {
        "resources": {
            "limits": {"memory": "1.5Gi", "cpu": "500m", "ephemeral-storage": "1e9"},
            "requests": {"memory": 536870912, "ephemeral-storage": "0.5Gi"},
        }
    },
    "Redis by TLS": {"cache": {"redis": {"url": "rediss://u@[::1]:6380/1"}, "secretName": "s", "signed": True}},
    "a claim": {"cache": {"persistentVolumeClaim": {"claimName": "c"}}},
    "no cache": {"cache": {"enabled": False}},
    "API keys": {"auth": {"apiKeysSecretName": "keys"}},
    "a provider": {
        "auth": {
            "oidc": {
                "issuer": "https://sso.example.com:8443/realms/ml",
                "audience": "a",
                "jwksURL": "https://sso/keys",
                "rolesClaim": "https://example.com/roles",
                "roles": {"system:serviceaccount:a:b": ["predict", "admin"]},
            }
        }
    },
    "mutual TLS": {"tls": {"secretName": "tls", "clientCASecretName": "ca"}},
    "everything": {
        "model": {"runID": RUN, "allowPickle": True},
        "replicas": 3,
        "rollout": {"strategy": "Rolling", "progressDeadlineSeconds": 30},
        "image": "registry.example/predictor:1",
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "250m"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "reader",
        "suspend": True,
        "historyLimit": 0,
        "podLabels": {"team": "risk"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "priorityClassName": "high",
        "topologySpreadConstraints": [
            {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}
        ],
        "terminationGracePeriodSeconds": 300,
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "labels": {"a": "b"}},
        "loader": {"resources": {"limits": {"memory": "4Gi"}}},
        "storage": {"bundleSizeLimit": "20Gi", "tmpSizeLimit": 1000000},
        "mlflow": {"caConfigMapName": "ca"},
    },
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": {}}, "must be exactly one of uri and runID"),
    "two models": ({"model": {"runID": RUN, "uri": "models:/a@b"}}, "must be exactly one of uri and runID"),
    "short run": ({"model": {"runID": "abc"}}, "must be 32 lower-case hexadecimal digits"),
    "latest": ({"model": {"uri": "models:/fraud/latest"}}, "must be models:/NAME@ALIAS"),
    "version 0": ({"model": {"uri": "models:/fraud/0"}}, "must be models:/NAME@ALIAS"),
    "foreign scheme": ({"model": {"uri": "s3://bucket/model"}}, "must be models:/NAME@ALIAS"),
    "our variable": ({"env": [{"name": "FAIRLEAD_ROLE", "value": "api"}]}, "the operator does not set itself"),
    "MLflow's address": ({"env": [{"name": "MLFLOW_TRACKING_URI"}]}, "the operator does not set itself"),
    "variable twice": ({"env": [{"name": "A"}, {"name": "A"}]}, "Duplicate value"),
    "value and source": (
        {"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "must be at most one of value and valueFrom",
    ),
    "negative replicas": ({"replicas": -1}, "greater than or equal to 0"),
    "strategy": ({"rollout": {"strategy": "BlueGreen"}}, 'supported values: "Rolling", "Canary", "HotSwap"'),
    "steps that fall": ({"rollout": {"steps": [0, 50, 20]}}, "must be ascending"),
    "steps twice": ({"rollout": {"steps": [0, 20, 20]}}, "must be ascending"),
    "a step of all": ({"rollout": {"steps": [100]}}, "less than or equal to 99"),
    "two masters": (
        {"replicas": 2, "autoscaling": {"maxReplicas": 3}},
        "must be at most one of replicas and autoscaling",
    ),
    "more than most": (
        {"autoscaling": {"minReplicas": 5, "maxReplicas": 3}},
        "must be minReplicas at most maxReplicas",
    ),
    "no number": ({"slo": {"successPercent": "most"}}, "must be a number from 0 to 100 in quotes"),
    "too much": ({"rollout": {"maxDisagreementPercent": "101"}}, "must be a number from 0 to 100 in quotes"),
    "empty slo": ({"slo": {}}, "should have at least 1 propert"),
    "no time": ({"rollout": {"progressDeadlineSeconds": 1}}, "greater than or equal to 5"),
    "half a byte": ({"resources": {"limits": {"memory": "512m"}}}, "must be a whole number of bytes of memory"),
    "half a byte of disk": (
        {"resources": {"requests": {"ephemeral-storage": "0.5"}}},
        "must be a whole number of bytes of ephemeral-storage",
    ),
    "short logged model": ({"model": {"uri": "models:/m-abc"}}, "models:/m-ID"),
    "amount": ({"resources": {"limits": {"cpu": "much"}}}, "spec.resources.limits.cpu"),
    "no cache": ({"cache": {}}, "must be exactly one of persistentVolumeClaim and redis"),
    "two caches": (
        {"cache": {"redis": {"url": "redis://r"}, "persistentVolumeClaim": {"claimName": "c"}}},
        "must be exactly one of persistentVolumeClaim and redis",
    ),
    "a password in a spec": ({"cache": {"redis": {"url": "redis://u:p@r:6379/0"}}}, "without a password"),
    "signed without a key": ({"cache": {"redis": {"url": "redis://r"}, "signed": True}}, "must be with a secretName"),
    "nobody": ({"auth": {}}, "must be with apiKeysSecretName, oidc or both"),
    "plain provider": ({"auth": {"oidc": {"issuer": "http://sso", "audience": "a"}}}, "must be an https address"),
    "any audience": ({"auth": {"oidc": {"issuer": "https://sso"}}}, "spec.auth.oidc.audience: Required value"),
    "unknown role": (
        {"auth": {"oidc": {"issuer": "https://sso", "audience": "a", "roles": {"x": ["boss"]}}}},
        'supported values: "predict", "admin"',
    ),
    "TLS of nobody": ({"tls": {}}, "spec.tls.secretName: Required value"),
    "our label": ({"podLabels": {"fairlead.dev/track": "x"}}, "must be labels that the operator does not set itself"),
    "a selector's label": (
        {"service": {"labels": {"app.kubernetes.io/name": "x"}}},
        "must be labels that the operator does not set itself",
    ),
    "service of no kind": ({"service": {"type": "ExternalName"}}, "supported values"),
    "too little grace": ({"terminationGracePeriodSeconds": 5}, "greater than or equal to 30"),
    "two authorities": (
        {"mlflow": {"caConfigMapName": "a", "caSecretName": "b"}},
        "must be exactly one of caConfigMapName and caSecretName",
    ),
    "domains by the way": (
        {"topologySpreadConstraints": [{"topologyKey": "zone", "minDomains": 2}]},
        "must be whenUnsatisfiable DoNotSchedule where minDomains is set",
    ),
    "unknown field": ({"canary": {}}, 'unknown field "spec.canary"'),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts(plane: ControlPlane, case: str) -> None:
    manifest = md("default", "accepted", RUN, **ACCEPTED[case])

    plane.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(manifest))


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_and_says_what_must_be(api: Api, case: str) -> None:
    spec, message = REFUSED[case]

    answer = api.client.post(
        f"{GROUP}/namespaces/default/modeldeployments",
        json=md("default", "refused", RUN, **spec),
        params={"dryRun": "All", "fieldValidation": "Strict"},
    )

    assert answer.status_code in (400, 422)
    assert message in answer.json()["message"]


def test_it_is_found_by_its_short_names_and_by_what_serves(api: Api, plane: ControlPlane, namespace: str) -> None:
    for name in ("one", "other"):
        api.create("md", md(namespace, name, RUN if name == "one" else "f" * 32))
    for short in ("mdeploy", "md"):
        selector = f"--field-selector=spec.model.runID={RUN}"
        found = plane.kubectl("get", short, "--namespace", namespace, selector, "--output", "name")
        assert found.split() == ["modeldeployment.fairlead.dev/one"]


def test_the_definition_stays_small(plane: ControlPlane) -> None:
    definition = plane.kubectl("get", "crd", "modeldeployments.fairlead.dev", "-o", "yaml")

    assert len(definition) < 60_000
    assert "NonStructuralSchema" not in definition
