"""Who may ask the pods, and over what: `spec.auth` and `spec.tls`. Only servers see any of it, never loaders, which may
run code of others' models."""

import json
from dataclasses import dataclass, field

from fairlead_operator import contract
from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming
from fairlead_operator.desired.pods import PodDefaults, load_token, port_of
from fairlead_operator.spec import OpenIDConnect

_KEYS, _PROVIDER, _TLS, _CLIENTS = "api-keys", "oidc-ca", "tls", "client-ca"
"""Volumes, each mounted at `/etc/fairlead/` and its name: a Secret's new content appears there without a restart."""


@dataclass(frozen=True)
class Contact:
    """How the operator itself speaks with the pods of one resource."""

    token: str | None = field(default=None, repr=False)
    server_name: str | None = None
    """What their certificate is for; None: they speak no TLS."""


def contact(md: ModelDeployment, defaults: PodDefaults) -> Contact:
    host = naming.host(md) if md.spec.tls is not None else None
    return Contact(load_token(md, defaults), host)


def environment(md: ModelDeployment) -> list[Manifest]:
    auth, tls, found = md.spec.auth, md.spec.tls, dict[str, str]()
    if auth is not None and auth.api_keys_secret_name is not None:
        found[contract.ENV_API_KEYS_FILE] = _path(_KEYS, "keys.json")
    if auth is not None and auth.oidc is not None:
        found |= _provider(auth.oidc)
    if tls is not None:
        found[contract.ENV_TLS_CERT_FILE] = _path(_TLS, "tls.crt")
        found[contract.ENV_TLS_KEY_FILE] = _path(_TLS, "tls.key")
        if tls.client_ca_secret_name is not None:
            found[contract.ENV_TLS_CLIENT_CA_FILE] = _path(_CLIENTS, "ca.crt")
    return [{"name": name, "value": value} for name, value in found.items()]


def _provider(oidc: OpenIDConnect) -> dict[str, str]:
    found = {
        contract.ENV_OIDC_ISSUER: oidc.issuer,
        contract.ENV_OIDC_AUDIENCE: oidc.audience,
        contract.ENV_OIDC_SUBJECT_CLAIM: oidc.subject_claim,
        contract.ENV_OIDC_ROLES_CLAIM: oidc.roles_claim,
    }
    if oidc.jwks_url is not None:
        found[contract.ENV_OIDC_JWKS_URL] = oidc.jwks_url
    if oidc.ca_config_map_name is not None:
        found[contract.ENV_OIDC_CA_FILE] = _path(_PROVIDER, "ca.crt")
    if oidc.roles:
        found[contract.ENV_OIDC_ROLES] = json.dumps({value: list(roles) for value, roles in oidc.roles.items()})
    return found


def volumes(md: ModelDeployment) -> list[Manifest]:
    """Not optional: a pod without its keys or certificate does not start, and Kubernetes says on it what is missing."""
    auth, tls, found = md.spec.auth, md.spec.tls, list[Manifest]()
    if auth is not None and auth.api_keys_secret_name is not None:
        found.append(_secret(_KEYS, auth.api_keys_secret_name, "keys.json"))
    if auth is not None and auth.oidc is not None and auth.oidc.ca_config_map_name is not None:
        source = {"name": auth.oidc.ca_config_map_name, "items": _items("ca.crt")}
        found.append({"name": _PROVIDER, "configMap": source})
    if tls is not None:
        found.append(_secret(_TLS, tls.secret_name, "tls.crt", "tls.key"))
        if tls.client_ca_secret_name is not None:
            found.append(_secret(_CLIENTS, tls.client_ca_secret_name, "ca.crt"))
    return found


def mounts(md: ModelDeployment) -> list[Manifest]:
    return [{"name": found["name"], "mountPath": _path(found["name"]), "readOnly": True} for found in volumes(md)]


def ports(md: ModelDeployment) -> list[tuple[str, int]]:
    """Names and numbers of what the pods listen on."""
    plain = [("http", contract.HTTP_PORT)]
    return [*plain, ("https", contract.TLS_PORT)] if md.spec.tls is not None else plain


def outward(md: ModelDeployment) -> set[int]:
    """Ports that pods connect to for the identity provider's keys."""
    oidc = md.spec.auth.oidc if md.spec.auth is not None else None
    return set() if oidc is None else {port_of(url) for url in (oidc.issuer, oidc.jwks_url) if url is not None}


def _path(volume: str, file: str = "") -> str:
    return f"/etc/fairlead/{volume}" + (f"/{file}" if file else "")


def _secret(volume: str, name: str, *keys: str) -> Manifest:
    # Readable for the group, which is the pod's; the files are root's.
    return {"name": volume, "secret": {"secretName": name, "defaultMode": 0o440, "items": _items(*keys)}}


def _items(*keys: str) -> list[Manifest]:
    return [{"key": key, "path": key} for key in keys]
