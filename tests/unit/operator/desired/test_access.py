"""Who may ask the pods, and over what: what of it is in which container, Service and policy."""

import hashlib
import json
from typing import Any

import pytest

from fairlead_operator.desired import naming, network, service
from fairlead_operator.desired.access import Contact, contact
from fairlead_operator.desired.pods import PodDefaults, load_token
from tests.unit.operator import samples
from tests.unit.operator.desired.built import pod
from tests.unit.operator.samples import DEFAULTS

KEYED = PodDefaults(image="i", tracking_uri="http://m:5000", load_key="k" * 32)
OIDC = {"issuer": "https://sso.example.com:8443/realms/ml", "audience": "fraud"}


def variables(container: Any) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def test_a_resource_that_asks_for_nothing_has_nothing_of_it() -> None:
    md = samples.md()
    spec, _, server = pod(md, KEYED)
    assert not [name for name in variables(server) if "OIDC" in name or "TLS" in name or "KEY" in name]
    assert [volume["name"] for volume in spec["volumes"]] == ["bundle", "tmp"]
    assert [port["name"] for port in service.build(md)["spec"]["ports"]] == ["http"]
    assert naming.url(md) == "http://fraud.ml.svc:8000"
    assert contact(md, DEFAULTS) == Contact(None, None)


def test_keys_are_a_file_of_the_server_alone() -> None:
    spec, loader, server = pod(samples.md(auth={"apiKeysSecretName": "fraud-keys"}), KEYED)
    path = variables(server)["FAIRLEAD_API_KEYS_FILE"]
    (mount,) = [found for found in server["volumeMounts"] if path.startswith(found["mountPath"])]
    assert mount["readOnly"]
    (volume,) = [found for found in spec["volumes"] if found["name"] == mount["name"]]
    assert volume["secret"]["secretName"] == "fraud-keys"
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    assert path == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert "FAIRLEAD_API_KEYS_FILE" not in variables(loader)
    assert mount["name"] not in [found["name"] for found in loader["volumeMounts"]]


def test_the_operator_is_let_in_by_its_token() -> None:
    md = samples.md(auth={"apiKeysSecretName": "fraud-keys"})
    token = load_token(md, KEYED)
    assert token is not None
    _, _, server = pod(md, KEYED)
    assert variables(server)["FAIRLEAD_LOAD_TOKEN_SHA256"] == hashlib.sha256(token.encode()).hexdigest()
    assert contact(md, KEYED).token == token
    assert token not in repr(contact(md, KEYED))


def test_a_provider_is_told_and_may_be_reached() -> None:
    more = {"rolesClaim": "groups", "roles": {"checkout": ["predict"]}, "caConfigMapName": "kube-root-ca.crt"}
    md = samples.md(auth={"oidc": OIDC | more})
    spec, _, server = pod(md)
    found = variables(server)
    assert (found["FAIRLEAD_OIDC_ISSUER"], found["FAIRLEAD_OIDC_AUDIENCE"]) == tuple(OIDC.values())
    assert json.loads(found["FAIRLEAD_OIDC_ROLES"]) == {"checkout": ["predict"]}
    assert found["FAIRLEAD_OIDC_ROLES_CLAIM"] == "groups"
    assert spec["volumes"][-1]["configMap"]["name"] == "kube-root-ca.crt"
    assert found["FAIRLEAD_OIDC_CA_FILE"].startswith(server["volumeMounts"][-1]["mountPath"])
    assert {"port": 8443, "protocol": "TCP"} in network.build(md, DEFAULTS)["spec"]["egress"][0]["ports"]


def test_tls_is_a_second_port_everywhere() -> None:
    md = samples.md(tls={"secretName": "fraud-tls", "clientCASecretName": "clients"})
    _, _, server = pod(md, KEYED)
    assert [(port["name"], port["containerPort"]) for port in server["ports"]] == [("http", 8000), ("https", 8443)]
    for built in (service.build(md), service.build_candidate(md)):
        assert [(port["targetPort"], port["port"]) for port in built["spec"]["ports"]] == [
            ("http", 8000),
            ("https", 8443),
        ]
    assert [port["port"] for port in network.build(md, KEYED)["spec"]["ingress"][0]["ports"]] == [8000, 8443]
    assert naming.url(md) == "https://fraud.ml.svc:8443"
    assert contact(md, KEYED).server_name == "fraud.ml.svc"
    assert server["readinessProbe"]["httpGet"]["port"] == "http", "kubelet has no certificate"
    found = variables(server)
    for name in ("CERT", "KEY", "CLIENT_CA"):
        assert found[f"FAIRLEAD_TLS_{name}_FILE"].startswith("/etc/fairlead/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth": {}},
        {"auth": {"oidc": {"issuer": "http://sso.example.com", "audience": "a"}}},
        {"auth": {"oidc": {"issuer": "https://user@sso.example.com", "audience": "a"}}},
        {"auth": {"oidc": {"issuer": "https://sso.example.com"}}},
        {"auth": {"oidc": OIDC | {"roles": {"x": ["boss"]}}}},
        {"tls": {}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"auth|tls"):
        samples.md(**wrong)
