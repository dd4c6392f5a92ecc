"""The pod of `helm test`: the script it runs is the tested one, with arguments that the script takes."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.chart.rendering import CHART, PROFILES, Helm, pick, render

FILE = CHART / "files/smoke.py"
TLS = "api.tls.secretName=own"
MUTUAL = f"{TLS},api.tls.clientCASecretName=clients"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smoke", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(helm: Helm, *options: str) -> Any:
    return pick(helm.template(CHART, *options), "Pod")["spec"]


def given(script: ModuleType, pod: Any) -> dict[str, Any]:
    return vars(script.arguments(pod["containers"][0]["args"]))


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - {"everything-off"}))
def test_it_runs_the_script_with_arguments_that_it_takes(helm: Helm, script: ModuleType, profile: str) -> None:
    manifests = render(helm, profile)
    (container,) = pick(manifests, "Pod")["spec"]["containers"]
    assert container["command"][:2] == ["python", "-c"]
    assert container["command"][2].rstrip() == FILE.read_text().rstrip()
    asked = given(script, pick(manifests, "Pod")["spec"])
    services = {one["metadata"]["name"] for one in manifests if one["kind"] == "Service"}
    for url in filter(None, (asked["mlflow"], asked["plain"], asked["api"])):
        assert url.partition("://")[2].partition(":")[0] in services
    assert container["resources"].keys() == {"requests", "limits"}


def test_it_asks_as_clients_have_to(helm: Helm, script: ModuleType) -> None:
    plain = given(script, rendered(helm))
    assert (plain["api"], plain["auth"], plain["certificate"]) == ("http://fairlead-api:8000", False, "")
    assert given(script, rendered(helm, "--set", "api.auth.secretName=keys"))["auth"] is True

    pod = rendered(helm, "--set", TLS)
    secured = given(script, pod)
    assert (secured["plain"], secured["api"]) == ("http://fairlead-api:8000", "https://fairlead-api:8443")
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == secured["certificate"]
    secret = {"secretName": "own", "items": [{"key": "tls.crt", "path": "tls.crt"}]}
    assert pod["volumes"] == [{"name": "tls", "secret": secret}], "the key is the server's alone"


def test_mutual_tls_needs_a_certificate_of_its_own(helm: Helm, script: ModuleType) -> None:
    assert given(script, rendered(helm, "--set", MUTUAL))["api"] == ""
    pod = rendered(helm, "--set", f"{MUTUAL},tests.clientCertificate.secretName=mine")
    asked = given(script, pod)
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"]}
    assert volumes[mounts[asked["client_certificate"]]] == "mine"


def test_a_key_comes_from_a_secret(helm: Helm) -> None:
    pod = rendered(helm, "--set", "api.auth.secretName=keys,tests.credential.secretName=mine,tests.credential.key=k")
    (entry,) = pod["containers"][0]["env"]
    assert entry == {"name": "CREDENTIAL", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
