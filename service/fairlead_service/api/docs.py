"""`/openapi.json` and `/docs`: as FastAPI has them, but with what the installed algorithms take."""

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse

from fairlead_service import contract
from fairlead_service.api import algorithms, openapi
from fairlead_service.api.services import Use
from fairlead_service.hardening import policy

_INLINE_STYLES = "; style-src-attr 'unsafe-inline'"
"""Swagger UI sets its elements' styles."""
router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def document(request: Request, services: Use) -> JSONResponse:
    found = request.app.openapi()
    if services.settings.role == contract.ROLE_API:
        found = openapi.with_algorithms(found, await algorithms.described(services))
    return JSONResponse(found)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    root = request.scope.get("root_path", "").rstrip("/")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json", title=f"{request.app.title} - Swagger UI", swagger_favicon_url="data:,"
    )
    page.headers["Content-Security-Policy"] = policy(bytes(page.body)) + _INLINE_STYLES
    return page
