"""Where MLflow's webhooks arrive: `POST /webhooks/mlflow`. They make the operator look at once instead of at the next
poll; nothing else is taken from them than the name of a registered model that is worth looking at.

The scheme is MLflow's own (`mlflow/webhooks/delivery.py`): HMAC-SHA256 over `<delivery id>.<timestamp>.<body>`. Served
by a thread of its own, because Kopf waits at its end for every task that appeared in its event loop.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from fairlead_operator.metrics import WEBHOOKS

logger = logging.getLogger(__name__)

PATH: Final = "/webhooks/mlflow"
SIGNATURE: Final = "X-MLflow-Signature"
TIMESTAMP: Final = "X-MLflow-Timestamp"
DELIVERY: Final = "X-MLflow-Delivery-Id"
VERSION: Final = "v1"
WINDOW_SECONDS: Final = 300
"""How far a delivery's clock may be from ours, and so how long its id has to be remembered."""
REMEMBERED: Final = 100_000
MAX_BODY: Final = 64 * 1024
READ_SECONDS: Final = 5.0
ENTITIES: Final = frozenset({"registered_model", "model_version", "model_version_alias"})
"""Events that can change what an alias means. Tags cannot: the operator sets them itself."""


class RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Gate:
    """Lets each delivery of whoever knows the secret through once. No I/O; the clock is passed in."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def check_head(self, headers: Mapping[str, str], now: float) -> None:
        """What can be refused without reading the body; `now` in seconds since 1970."""
        for name in (SIGNATURE, TIMESTAMP, DELIVERY):
            if not headers.get(name):
                raise RefusedError(401, f"The header {name} is missing.")
        timestamp = headers[TIMESTAMP]
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
            raise RefusedError(401, f"{TIMESTAMP} is not a number of seconds.")
        if abs(now - int(timestamp)) > WINDOW_SECONDS:
            raise RefusedError(401, f"{TIMESTAMP} is more than {WINDOW_SECONDS} s from this clock.")

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """The whole request: signed with the secret, and not seen before."""
        self.check_head(headers, now)
        delivery, timestamp = headers[DELIVERY], headers[TIMESTAMP]
        signed = b".".join((delivery.encode(errors="surrogateescape"), timestamp.encode(), body))
        expected = hmac.new(self._secret, signed, hashlib.sha256).digest()
        given = [_decoded(part) for part in headers[SIGNATURE].split()]
        if not any([hmac.compare_digest(expected, signature) for signature in given]):
            raise RefusedError(401, f"{SIGNATURE} does not fit: another secret, or another body.")
        if not self._is_new(delivery, int(timestamp), now):
            raise RefusedError(409, f"The delivery {delivery!r} was taken before.")

    def _is_new(self, delivery: str, timestamp: int, now: float) -> bool:
        while self._seen and (len(self._seen) > REMEMBERED or next(iter(self._seen.values())) < now):
            self._seen.popitem(last=False)
        if delivery in self._seen:
            return False
        # Later ones may expire earlier, if their clock is behind: then they are remembered for longer than need be.
        self._seen[delivery] = max(timestamp, now) + WINDOW_SECONDS
        return True


def _decoded(signature: str) -> bytes:
    version, _, encoded = signature.partition(",")
    if version != VERSION:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def subject(body: bytes) -> str | None:
    """The registered model that an event is about; None for events that are about something else."""
    try:
        event = json.loads(body)
        ours = event["entity"] in ENTITIES
        name = event["data"]["name"] if ours else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedError(400, "The body is not one of MLflow's events.") from error
    if ours and not isinstance(name, str):
        raise RefusedError(400, "The name of the model is not a string.")
    return name


class WebhookServer:
    """Listens as soon as it is made, until `close`. `notice` is called in its thread, with the name of a model."""

    def __init__(
        self,
        port: int,
        secret: str,
        notice: Callable[[str], Any],
        host: str = "0.0.0.0",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate, self._notice, self._clock = Gate(secret), notice, clock
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(host, port), name="webhooks", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise self._failure

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, host: str, port: int) -> None:
        try:
            asyncio.run(self._serve(host, port))
        except Exception as error:
            if self._started.is_set():
                logger.exception("Webhooks are no longer taken; the poll goes on")
            self._failure = error
            self._started.set()

    async def _serve(self, host: str, port: int) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post(PATH, self._post)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            self.port = int(runner.addresses[0][1])
            self._started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            name = await self._take(request)
        except RefusedError as refused:
            WEBHOOKS.labels("refused").inc()
            logger.warning("A webhook is refused: %s", refused.detail, extra={"status": refused.status})
            return _problem(refused)
        WEBHOOKS.labels("ignored" if name is None else "taken").inc()
        if name is not None:
            self._notice(name)
        return web.json_response({})

    async def _take(self, request: web.Request) -> str | None:
        self._gate.check_head(request.headers, self._clock())
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise RefusedError(413, f"The body is larger than {MAX_BODY} bytes.") from error
        except TimeoutError as error:
            raise RefusedError(408, f"The body did not arrive within {READ_SECONDS:.0f} s.") from error
        self._gate.check(request.headers, body, self._clock())
        return subject(body)


def _problem(refused: RefusedError) -> web.Response:
    """RFC 9457, as the API answers."""
    body = json.dumps({"status": refused.status, "detail": refused.detail}).encode()
    response = web.Response(body=body, status=refused.status, content_type="application/problem+json")
    response.force_close()  # whatever is left of the body is not read
    return response
