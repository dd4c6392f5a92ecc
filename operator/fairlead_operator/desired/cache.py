"""Where loaders keep bundles: of the resource's own choice, or the operator's default. Only loaders see any of it, and
servers that swap models, whose children are loaders."""

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired.pods import PodDefaults, port_of
from fairlead_operator.spec import CacheSource, RedisSource

MOUNT = "/cache"
VOLUME = "cache"
_SECRETS = {
    contract.ENV_CACHE_PASSWORD: "password",
    contract.ENV_CACHE_SIGNING_KEY: "signing-key",
    contract.ENV_CACHE_CA: "ca.crt",
}
"""Variable → key of the Secret."""


def chosen(md: ModelDeployment, defaults: PodDefaults) -> CacheSource | None:
    """The cache of this resource, if it has one."""
    own = md.spec.cache
    if own is not None:
        return own if own.enabled else None
    if defaults.cache_url is None:
        return None
    return CacheSource(
        redis=RedisSource(url=defaults.cache_url),
        secret_name=defaults.cache_secret,
        signed=defaults.cache_signed,
        max_bytes=defaults.cache_max_bytes,
    )


def environment(cache: CacheSource | None) -> list[Manifest]:
    """A Secret that is missing costs the cache, not the pod: loaders that must verify signatures refuse to use it."""
    if cache is None:
        return []
    values = {
        contract.ENV_CACHE_URL: cache.redis.url if cache.redis else f"file://{MOUNT}",
        contract.ENV_CACHE_MAX_BYTES: str(cache.max_bytes),
        contract.ENV_CACHE_SIGNED: "true" if cache.signed else "false",
    }
    variables: list[Manifest] = [{"name": name, "value": value} for name, value in values.items()]
    if cache.secret_name:
        for name, key in _SECRETS.items():
            reference = {"name": cache.secret_name, "key": key, "optional": True}
            variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return variables


def volumes(cache: CacheSource | None) -> list[Manifest]:
    if cache is None or cache.persistent_volume_claim is None:
        return []
    claim = {"claimName": cache.persistent_volume_claim.claim_name}
    return [{"name": VOLUME, "persistentVolumeClaim": claim}]


def mounts(cache: CacheSource | None) -> list[Manifest]:
    return [{"name": VOLUME, "mountPath": MOUNT} for _ in volumes(cache)]


def ports(cache: CacheSource | None) -> set[int]:
    """That pods connect to."""
    return {port_of(cache.redis.url)} if cache is not None and cache.redis else set()
