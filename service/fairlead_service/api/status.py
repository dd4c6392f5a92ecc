"""`GET /`: what this server does now, for a person with a browser: one file, which reads `/metrics/summary` and
`/model/info` every few seconds.
"""

from pathlib import Path
from typing import Final

from fastapi import Request, Response

from fairlead_service.hardening import policy

_PAGE: Final = Path(__file__).with_name("status.html").read_bytes()


_HEADERS: Final = {"Content-Security-Policy": policy(_PAGE), "Cache-Control": "no-cache"}


async def page(_: Request) -> Response:
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)
