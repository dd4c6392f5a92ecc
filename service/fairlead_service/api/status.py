"""`GET /`: what this server does now, for a person with a browser: one file, which reads `/metrics/summary` and
`/model/info` every few seconds.

Its policy allows the page's own script and style, by their digests, and requests to this server; so what is in a
model's name, say, is text, whatever it looks like.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from fastapi import Request, Response

_PAGE: Final = Path(__file__).with_name("status.html").read_bytes()


def _digests(page: bytes, element: bytes) -> str:
    inside = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in inside)


def policy(page: bytes) -> str:
    """A Content-Security-Policy for a page with scripts and styles of its own."""
    scripts, styles = (_digests(page, element) for element in (b"script", b"style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_HEADERS: Final = {
    "Content-Security-Policy": policy(_PAGE),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(_: Request) -> Response:
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)
