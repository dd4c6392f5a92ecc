"""Credentials in addresses (`http://user:password@host`): taken out once, where settings are read, and never shown."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

TRACKING_URI: Final = "MLFLOW_TRACKING_URI"
TRACKING_USERNAME: Final = "MLFLOW_TRACKING_USERNAME"
TRACKING_PASSWORD: Final = "MLFLOW_TRACKING_PASSWORD"

_PLAIN: Final = re.compile(r"(?<=://)[^\s/@]*@")
_WITH_SLASH: Final = re.compile(r"(?<=://)[^\s/@:]*:(?!\d+(?:/|\s|$))[^\s@]*@")
"""A password with a slash in it, which should have been encoded: up to the last `@` of the word."""


def apart(environment: Mapping[str, str]) -> dict[str, str]:
    """What to change of an environment so that MLflow's address holds no credentials: they become the variables that
    MLflow's own client reads. Those that are set already are kept. Empty if there is nothing to change."""
    address = environment.get(TRACKING_URI, "")
    try:
        parts = urlsplit(address)
        userinfo, at, host = parts.netloc.rpartition("@")
    except ValueError:
        return {}
    if not at:
        return {}
    username, _, password = userinfo.partition(":")
    own = {TRACKING_USERNAME: unquote(username), TRACKING_PASSWORD: unquote(password)}
    changes = {TRACKING_URI: urlunsplit(parts._replace(netloc=host))}
    if not environment.get(TRACKING_USERNAME) and username:
        changes |= own
    return changes


def shown(text: str) -> str:
    """A text for people, with the credentials of all addresses in it left out."""
    return _PLAIN.sub("", _WITH_SLASH.sub("", text)) if "://" in text else text
