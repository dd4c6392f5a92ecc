"""gzip for long answers of FastAPI's routes, to clients that take it: metrics, runs, trainings, the OpenAPI document.

The raw endpoints are not among them and compress their own answers (`inference.raw`); the sizes are the same. Short
answers are not worth it, long ones are compressed in a thread.
"""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead_service.inference.raw import GZIP_BYTES, GZIP_LOOP_BYTES, takes_gzip


class Compressed(GZipMiddleware):
    """Starlette's, but for clients that name gzip to say that they do not take it (`gzip;q=0`)."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, minimum_size=GZIP_BYTES, compresslevel=1, thread_minimum_size=GZIP_LOOP_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and takes_gzip(dict(scope["headers"]).get(b"accept-encoding", b"")):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
