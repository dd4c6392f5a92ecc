"""Predictors that ask who is there: API keys, the cluster's own tokens, mutual TLS; and a canary judged behind them."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.steps import Models, Namespace, Release, config_map, load_pod
from tests.pki import Authority
from tools.cluster import Cluster
from tools.up import NAMESPACE

CALLER = Path(__file__).with_name("caller.py")
AUDIENCE = "guarded-model"


def secret(namespace: str, name: str, content: dict[str, bytes]) -> dict[str, Any]:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Of pods and of their clients."""
    return Authority(tmp_path / "pki", "models")


@pytest.fixture
def trusted(cluster: Cluster, release: Release, authority: Authority) -> Iterator[None]:
    """An operator with a load key and a certificate, and issuer keys that anybody may read."""
    everything = Namespace(cluster, NAMESPACE)
    own = authority.issue("operator")
    files = {"ca.crt": authority.path, "tls.crt": own.certificate, "tls.key": own.key}
    everything.apply(secret(NAMESPACE, "test-load-key", {"key": secrets.token_hex(32).encode()}))
    everything.apply(secret(NAMESPACE, "test-predictor-tls", {key: path.read_bytes() for key, path in files.items()}))
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "test-issuer-keys"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:service-account-issuer-discovery",
        },
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}
        ],
    }  # fmt: skip
    everything.apply(binding)
    release.upgrade(
        "operator.loadKey.secretName=test-load-key",
        "operator.predictorTLS.secretName=test-predictor-tls",
        "operator.predictorTLS.clientCertificate=true",
    )
    try:
        yield
    finally:
        release.upgrade()
        cluster.kubectl("delete", "clusterrolebinding", "test-issuer-keys")
        everything.kubectl("delete", "secret", "test-load-key", "test-predictor-tls")


def asked(namespace: Namespace, authority: Authority, *arguments: str) -> dict[str, Any]:
    """What `caller.py` says, in a pod whose service account is `checkout`."""
    own = authority.issue("checkout")
    files = {"ca.crt": authority.path, "tls.crt": own.certificate, "tls.key": own.key}
    namespace.apply(secret(namespace.name, "caller", {key: path.read_bytes() for key, path in files.items()}))
    namespace.apply(config_map(namespace.name, "caller", {"caller.py": CALLER.read_text()}))
    deployment = namespace.cluster.get("deployment", "fairlead-api", NAMESPACE)
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    pod = load_pod(namespace.name, image, ["python", "/script/caller.py", *arguments])
    pod["metadata"]["name"] = "caller"
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    del container["readinessProbe"]
    container["volumeMounts"] += [{"name": "pki", "mountPath": "/pki"}, {"name": "token", "mountPath": "/token"}]
    token = {"serviceAccountToken": {"audience": AUDIENCE, "path": "token"}}
    spec["serviceAccountName"] = "checkout"
    spec["volumes"] = [
        {"name": "script", "configMap": {"name": "caller"}},
        {"name": "pki", "secret": {"secretName": "caller"}},
        {"name": "token", "projected": {"sources": [token]}},
    ]
    namespace.apply(pod)
    namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/caller", "--timeout=120s")
    found: dict[str, Any] = json.loads(namespace.kubectl("logs", "caller").strip().splitlines()[-1])
    return found


@pytest.mark.usefixtures("trusted")
def test_who_is_let_in_and_how_the_operator_judges_a_canary_behind_it(
    namespace: Namespace, models: Models, authority: Authority, example_body: str
) -> None:
    issuer = json.loads(namespace.cluster.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    key = f"fl_{secrets.token_urlsafe(32)}"
    entry = {"name": "ci", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": ["predict"]}
    shown = authority.issue("guarded", f"guarded.{namespace.name}.svc")
    namespace.apply(secret(namespace.name, "keys", {"keys.json": json.dumps([entry]).encode()}))
    pair = {"tls.crt": shown.certificate.read_bytes(), "tls.key": shown.key.read_bytes()}
    namespace.apply(secret(namespace.name, "tls", pair))
    namespace.apply(secret(namespace.name, "clients", {"ca.crt": authority.path.read_bytes()}))
    namespace.kubectl("create", "serviceaccount", "checkout")
    guarded = {
        "auth": {
            "apiKeysSecretName": "keys",
            "oidc": {
                "issuer": issuer, "jwksURL": "https://kubernetes.default.svc/openid/v1/jwks",
                "caConfigMapName": "kube-root-ca.crt", "audience": AUDIENCE, "rolesClaim": "sub",
                "roles": {f"system:serviceaccount:{namespace.name}:checkout": ["predict"]},
            },
        },
        "tls": {"secretName": "tls", "clientCASecretName": "clients"},
        "rollout": {"strategy": "Canary", "steps": [0], "minRequests": 10, "progressDeadlineSeconds": 120},
        "slo": {"successPercent": "99"},
    }  # fmt: skip
    namespace.deploy("guarded", models.good, **guarded)
    namespace.await_("guarded", "UpToDate")
    assert namespace.get("guarded")["status"]["url"] == f"https://guarded.{namespace.name}.svc:8443"

    namespace.deploy("guarded", models.better, **guarded)
    namespace.await_("guarded", f"{{.status.serving.runID}}={models.better}", timeout=180)
    namespace.await_("guarded", "UpToDate")
    (promoted,) = [e for e in namespace.get("guarded")["status"]["history"] if e["runID"] == models.good]
    assert promoted["verdict"], "the candidate was tried, not only started"

    answers = asked(namespace, authority, f"guarded.{namespace.name}.svc", key, example_body)
    assert answers["token"] == [200, models.better]
    assert answers["key"] == [200, models.better]
    assert [answers[way][0] for way in ("other key", "nothing", "plain")] == [401, 401, 403]
    assert answers["no certificate"][1] is None
    assert answers["no certificate"][0] not in (200, 401)
