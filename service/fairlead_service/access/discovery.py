"""Fetches the keys of an OpenID Connect provider."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx

from fairlead_service.access.provider import Provider, trustworthy
from fairlead_service.following import StaleError

_LONGEST_ANSWER: Final = 2**20
SECONDS: Final = 10.0
"""For all of it. httpx's own timeouts are for each read: a provider that sends a byte now and then would take for ever,
in its TLS handshake, its headers or its answer."""


def fetch_keys(provider: Provider, seconds: float = SECONDS) -> Mapping[str, Any]:
    """The provider's JSON Web Key Set. Raises StaleError. Blocks; an event loop of its own has the deadline."""
    return asyncio.run(_fetch(provider, seconds))


async def _fetch(provider: Provider, seconds: float) -> Mapping[str, Any]:
    try:
        context = ssl.create_default_context(cafile=None if provider.ca_file is None else str(provider.ca_file))
    except OSError as error:  # SSLError is one
        raise StaleError(f"{provider.ca_file} is no file of certificates: {error.strerror or error}") from None
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(verify=context, timeout=seconds) as client,
        ):
            return await _get(client, provider.jwks_url or await _discover(client, provider.issuer))
    except TimeoutError:
        raise StaleError(f"the keys of {provider.issuer} did not arrive in {seconds:g} s") from None


async def _discover(client: httpx.AsyncClient, issuer: str) -> str:
    document = await _get(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:  # OpenID Connect Discovery 1.0, 4.3
        raise StaleError(f"{issuer} calls itself {str(document.get('issuer'))[:200]!r}; set the issuer to that")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not trustworthy(url):
        raise StaleError(f"{issuer} names no https address of its keys")
    return url


async def _get(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    try:
        async with client.stream("GET", url) as answer:
            answer.raise_for_status()
            content = b""
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _LONGEST_ANSWER:
                    raise StaleError(f"{url} answers more than {_LONGEST_ANSWER} bytes")
        document = json.loads(content)
    except httpx.HTTPStatusError as error:
        raise StaleError(f"{url} answers {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise StaleError(f"{url} does not answer: {error or error!r}") from None
    except (ValueError, RecursionError):
        raise StaleError(f"{url} answers no JSON") from None
    if not isinstance(document, dict):
        raise StaleError(f"{url} answers no JSON object")
    return document
