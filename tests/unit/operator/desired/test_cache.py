"""What pods know of the cache for bundles."""

from typing import Any

import pytest

from fairlead_operator.desired import network
from fairlead_operator.desired.pods import PodDefaults
from tests.unit.operator import samples
from tests.unit.operator.desired.built import pod
from tests.unit.operator.samples import DEFAULTS

CLAIM = {"persistentVolumeClaim": {"claimName": "bundles"}}
REDIS = {"redis": {"url": "rediss://redis.cache:6380/1"}, "secretName": "cache", "signed": True, "maxBytes": 2**30}
SHARED = PodDefaults(image="i", tracking_uri="http://m:5000", cache_url="redis://redis.cache", cache_secret="shared")


def cached(container: Any) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container["env"] if entry["name"].startswith("FAIRLEAD_CACHE")}


def test_there_is_none_unless_somebody_asks() -> None:
    _, loader, server = pod(samples.md())
    assert cached(loader) == cached(server) == {}


def test_a_claim_is_mounted_for_the_loader_alone() -> None:
    spec, loader, server = pod(samples.md(cache=CLAIM))
    assert spec["volumes"][-1] == {"name": "cache", "persistentVolumeClaim": {"claimName": "bundles"}}
    assert loader["volumeMounts"][-1] == {"name": "cache", "mountPath": "/cache"}
    assert cached(loader)["FAIRLEAD_CACHE_URL"]["value"] == "file:///cache"
    assert cached(server) == {}
    assert "cache" not in [mount["name"] for mount in server["volumeMounts"]]


def test_secrets_come_from_a_secret_and_may_be_missing() -> None:
    _, loader, _ = pod(samples.md(cache=REDIS))
    found = cached(loader)
    assert found["FAIRLEAD_CACHE_URL"]["value"] == "rediss://redis.cache:6380/1"
    assert found["FAIRLEAD_CACHE_MAX_BYTES"]["value"] == str(2**30)
    assert found["FAIRLEAD_CACHE_SIGNED"]["value"] == "true"
    secret = found["FAIRLEAD_CACHE_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "cache", "key": "password", "optional": True}


def test_a_server_that_swaps_models_loads_through_it() -> None:
    _, _, server = pod(samples.md(cache=CLAIM, rollout={"strategy": "HotSwap"}))
    assert cached(server)
    assert server["volumeMounts"][-1] == {"name": "cache", "mountPath": "/cache"}


def test_a_resource_may_choose_otherwise_than_the_operator() -> None:
    def url(**spec: Any) -> Any:
        return cached(pod(samples.md(**spec), SHARED)[1]).get("FAIRLEAD_CACHE_URL", {}).get("value")

    assert url() == "redis://redis.cache"
    assert url(cache=CLAIM) == "file:///cache"
    assert url(cache={"enabled": False}) is None


@pytest.mark.parametrize(
    ("spec", "defaults", "port"),
    [({"cache": REDIS}, DEFAULTS, 6380), ({}, SHARED, 6379), ({"cache": CLAIM}, SHARED, None)],
)
def test_pods_may_reach_it(spec: Any, defaults: PodDefaults, port: int | None) -> None:
    rules = network.build(samples.md(**spec), defaults)["spec"]["egress"][0]["ports"]
    assert {rule["port"] for rule in rules} == {53, 1053, 5000} | ({port} if port else set())


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ({}, "exactly one of"),
        (REDIS | CLAIM, "exactly one of"),
        (CLAIM | {"enabled": False}, "exactly one of"),
        ({"redis": {"url": "redis://user:password@host"}}, "url"),
        (CLAIM | {"signed": True}, "secretName"),
    ],
)
def test_what_makes_no_sense_is_refused(cache: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        samples.md(cache=cache)
