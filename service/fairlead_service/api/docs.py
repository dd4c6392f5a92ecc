"""`/openapi.json` and `/docs`: as FastAPI has them, but with what the installed algorithms take."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

from fairlead_service import contract
from fairlead_service.api import algorithms, openapi
from fairlead_service.api.services import Services, Use
from fairlead_service.hardening import policy
from fairlead_service.schemas_train import AlgorithmInfo

_INLINE_STYLES = "; style-src-attr 'unsafe-inline'"
"""Swagger UI sets its elements' styles."""
DOCUMENT: Final = "openapi.json"
"""Relative to the page, which may be behind a proxy that takes a prefix off the path."""
router = APIRouter(include_in_schema=False)


@dataclass
class Document:
    """The OpenAPI document as bytes: rendering it takes longer than all else that a request may ask for."""

    _bytes: bytes | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self, app: FastAPI, services: Services) -> bytes:
        """Kept once it says all that there is to say."""
        async with self._turn:
            if self._bytes is not None:
                return self._bytes
            known = await algorithms.described(services) if services.settings.role == contract.ROLE_API else []
            rendered = await asyncio.to_thread(_render, app, known or [])
            if known is not None:
                self._bytes = rendered
            return rendered


def _render(app: FastAPI, known: Sequence[AlgorithmInfo]) -> bytes:
    return orjson.dumps(openapi.with_algorithms(app.openapi(), known))


@router.get("/openapi.json")
async def document(request: Request, services: Use) -> Response:
    return Response(await services.document.get(request.app, services), media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url=DOCUMENT, title=f"{request.app.title} - Swagger UI", swagger_favicon_url="data:,"
    )
    page.headers["Content-Security-Policy"] = policy(bytes(page.body)) + _INLINE_STYLES
    return page
