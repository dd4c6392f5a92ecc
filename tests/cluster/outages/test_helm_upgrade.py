"""The release is upgraded: to an operator with a load key and a certificate, to none at all, and back.

While the upgrade lasts: predictors that ask for credentials (API keys, the cluster's own tokens, mutual TLS), a canary
that is judged behind them, and a deletion without an operator.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.load import config_map, load_pod
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace, new_namespace
from tests.cluster.release import Release
from tests.pki import Authority
from tools.cluster import Cluster
from tools.up import NAMESPACE

CALLER = Path(__file__).parents[1] / "caller_script.py"
AUDIENCE = "guarded-model"
OPERATOR = "deployment/fairlead-operator"
ISSUER_KEYS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "test-issuer-keys"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:service-account-issuer-discovery",
    },
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
}
"""Lets predictors read the keys that the cluster signs its tokens with."""


def secret(namespace: str, name: str, content: dict[str, bytes]) -> dict[str, Any]:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


@dataclass(frozen=True)
class Upgraded:
    namespace: Namespace
    authority: Authority
    """Signs the certificates of pods, their clients and the operator."""
    before: set[str]
    """UIDs of the pods of `kept` before the upgrade."""


@pytest.fixture(scope="module")
def upgraded(cluster: Cluster, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """An operator with a load key and a certificate, beside models that serve; in the end all is as before."""
    scratch = tmp_path_factory.mktemp("release")
    release, authority = Release.of(cluster, scratch), Authority(scratch / "pki", "models")
    everything, own = Namespace(cluster, NAMESPACE), authority.issue("operator")
    files = {"ca.crt": authority.path, "tls.crt": own.certificate, "tls.key": own.key}
    with new_namespace(cluster, f"t-{secrets.token_hex(4)}") as namespace:
        namespace.deploy("kept", models.good, replicas=2)
        namespace.deploy("orphan", models.good)
        for name in ("kept", "orphan"):
            namespace.await_(name, "UpToDate")
        before = namespace.serving_uids("kept", models.good)
        content = {key: path.read_bytes() for key, path in files.items()}
        everything.apply(secret(NAMESPACE, "test-load-key", {"key": secrets.token_hex(32).encode()}))
        everything.apply(secret(NAMESPACE, "test-predictor-tls", content))
        everything.apply(ISSUER_KEYS)
        try:
            release.upgrade(
                "operator.podAnnotations.upgraded=yes",
                "operator.loadKey.secretName=test-load-key",
                "operator.predictorTLS.secretName=test-predictor-tls",
                "operator.predictorTLS.clientCertificate=true",
            )
            yield Upgraded(namespace, authority, before)
        finally:
            release.upgrade()
            cluster.kubectl("delete", "clusterrolebinding", "test-issuer-keys")
            everything.kubectl("delete", "secret", "test-load-key", "test-predictor-tls")
        assert namespace.serving_uids("kept", models.good) == before, "going back touched pods"


def test_upgrading_the_operator_touches_no_pod(upgraded: Upgraded, models: Models) -> None:
    upgraded.namespace.deploy("new", models.better, replicas=1, suspend=True)
    upgraded.namespace.await_("new", "{.status.observedGeneration}=1")  # the new operator is at work
    assert len(upgraded.before) == 2
    assert upgraded.namespace.serving_uids("kept", models.good) == upgraded.before


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


def test_who_is_let_in_and_how_the_operator_judges_a_canary_behind_it(
    upgraded: Upgraded, models: Models, example_body: str
) -> None:
    namespace, authority = upgraded.namespace, upgraded.authority
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
        "rollout": {"strategy": "Canary", "steps": [0], "stepSeconds": 6, "minRequests": 10},
        "slo": {"successPercent": "99"},
        "replicas": 1,
    }  # fmt: skip
    namespace.deploy("guarded", models.good, **guarded)
    namespace.await_("guarded", "UpToDate")
    assert namespace.get("guarded")["status"]["url"] == f"https://guarded.{namespace.name}.svc:8443"

    namespace.deploy("guarded", models.better, **guarded)
    namespace.await_("guarded", f"{{.status.serving.runID}}={models.better}")
    namespace.await_("guarded", "UpToDate")
    (promoted,) = [e for e in namespace.get("guarded")["status"]["history"] if e["runID"] == models.good]
    assert promoted["verdict"], "the candidate was tried, not only started"

    answers = asked(namespace, authority, f"guarded.{namespace.name}.svc", key, example_body)
    assert answers["token"] == [200, models.better]
    assert answers["key"] == [200, models.better]
    assert [answers[way][0] for way in ("other key", "nothing", "plain")] == [401, 401, 403]
    assert answers["no certificate"][1] is None
    assert answers["no certificate"][0] not in (200, 401)


def test_without_the_operator_deletion_does_not_hang(cluster: Cluster, upgraded: Upgraded) -> None:
    cluster.kubectl("delete", "-n", NAMESPACE, OPERATOR, "--cascade=foreground")
    upgraded.namespace.kubectl("delete", "modeldeployment", "orphan", "--timeout=20s")
    upgraded.namespace.kubectl("wait", "--for=delete", "deployment/orphan", "--timeout=60s")
