"""Takes user and password out of an address, so that no message, log line or pod can repeat them. Pure."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit


class Address(NamedTuple):
    url: str
    """Without user and password."""
    username: str | None = None
    password: str | None = None


def split_userinfo(url: str) -> Address:
    """Raises ValueError for what is not an address."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return Address(url)
    username, _, password = userinfo.partition(":")
    return Address(urlunsplit(parts._replace(netloc=host)), unquote(username) or None, unquote(password) or None)
