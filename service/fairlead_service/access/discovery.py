"""Fetches the keys of an OpenID Connect provider."""

import json
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx

from fairlead_service.access.provider import Provider, trustworthy
from fairlead_service.following import StaleError

_LONGEST_ANSWER: Final = 2**20
_SECONDS: Final = 5.0


def fetch_keys(provider: Provider) -> Mapping[str, Any]:
    """The provider's JSON Web Key Set. Raises StaleError."""
    context = ssl.create_default_context(cafile=str(provider.ca_file)) if provider.ca_file else True
    with httpx.Client(verify=context, timeout=_SECONDS) as client:
        return _get(client, provider.jwks_url or _discover(client, provider.issuer))


def _discover(client: httpx.Client, issuer: str) -> str:
    document = _get(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:  # OpenID Connect Discovery 1.0, 4.3
        raise StaleError(f"{issuer} calls itself {str(document.get('issuer'))[:200]!r}; set the issuer to that")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not trustworthy(url):
        raise StaleError(f"{issuer} names no https address of its keys")
    return url


def _get(client: httpx.Client, url: str) -> Mapping[str, Any]:
    try:
        with client.stream("GET", url) as answer:
            answer.raise_for_status()
            content = b""
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _LONGEST_ANSWER:
                    raise StaleError(f"{url} answers more than {_LONGEST_ANSWER} bytes")
        document = json.loads(content)
    except httpx.HTTPStatusError as error:
        raise StaleError(f"{url} answers {error.response.status_code}") from None
    except (httpx.HTTPError, OSError) as error:
        raise StaleError(f"{url} does not answer: {error or error!r}") from None
    except ValueError:
        raise StaleError(f"{url} answers no JSON") from None
    if not isinstance(document, dict):
        raise StaleError(f"{url} answers no JSON object")
    return document
