"""Headers that every answer has, so that a browser makes of it what it is and nothing else; and policies for pages.

No CORS headers are ever sent: a page of another origin can't read answers. API clients ignore all of these.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

Header = tuple[bytes, bytes]

HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


def missing(headers: Sequence[Header]) -> list[Header]:
    """Those of HEADERS that an answer has not set in its own way; names in lower case."""
    there = {name for name, _ in headers}
    return [header for header in HEADERS if header[0] not in there]


def policy(page: bytes) -> str:
    """A Content-Security-Policy that allows a page its own scripts and styles, by their digests, those that it links,
    by their origins, and requests to this server; so what is in a model's name is text, whatever it looks like."""
    scripts = " ".join([*_digests(page, b"script"), *_origins(page, rb'<script[^>]*\ssrc="([^"]+)"')])
    styles = " ".join([*_digests(page, b"style"), *_origins(page, rb'<link[^>]*\shref="([^"]+\.css)"')])
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digests(page: bytes, element: bytes) -> list[str]:
    inside = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in inside]


def _origins(page: bytes, linked: bytes) -> list[str]:
    found = (re.match(r"https://[^/]+", address.decode()) for address in re.findall(linked, page))
    return sorted({origin[0] for origin in found if origin is not None})
