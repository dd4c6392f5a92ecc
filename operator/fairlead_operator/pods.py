"""Asks serving pods, one at a time, at their own addresses. The only module that speaks HTTP to them.

Nothing here waits for long: a load is only begun, and `info` says how far it is. Each function answers with a value of
`reports` or raises `UnreachableError` when the pod says nothing, `AnswerError` when it says no.
"""

import asyncio
import ipaddress
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import httpx
import orjson
from pydantic import TypeAdapter

from fairlead_operator import contract, reports, tracing
from fairlead_operator.api import ModelRef
from fairlead_operator.desired.access import Contact
from fairlead_operator.reports import Info, Predictions, Row, Samples
from fairlead_operator.trust import Trust

CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0
PREDICT_SECONDS: Final = 10.0
SHED_WAIT_SECONDS: Final = 5.0
"""The longest `Retry-After` that a replay waits for."""
MAX_ANSWER_BYTES: Final = 16 * 2**20
"""Pods run models of others: one must not fill the operator's memory."""
_SHOWN: Final = 200
"""Characters of an answer that makes no sense."""
_NO_TOKEN: Final = (
    "pods with spec.auth know the operator by its load key, and it has none; set the chart's operator.loadKey"
)
_TYPE: Final = "urn:fairlead:problem:"
_REPLAYED: Final = {"Content-Type": "application/json", contract.REPLAY_HEADER: "1"}


@dataclass(frozen=True)
class _Problem:
    type: str
    detail: str


_PROBLEM: Final = TypeAdapter(_Problem)
_ANYTHING: Final = TypeAdapter(dict[str, object])
Answer = TypeVar("Answer")


class PodError(Exception):
    """The pod has not done what it was asked; the message says what happened."""


class UnreachableError(PodError):
    """No answer, or none in time, or one that no Fairlead server gives."""


class AnswerError(PodError):
    """The pod refuses."""

    def __init__(self, status: int, problem: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {problem}: {detail}" if problem else f"{status}: {detail}")
        self.status = status
        self.problem = problem
        """The slug of its problem details: `unauthorized`, `queue-full`, …; empty if it sent none."""
        self.retry_after = retry_after
        """Seconds, if the pod said when to come back."""

    @property
    def shed(self) -> bool:
        """Whether the pod has too much to do, which says nothing of the request."""
        return self.status == httpx.codes.TOO_MANY_REQUESTS


class Pods:
    """Each resource's pods have a token of their own, and a name in their certificates (`Contact`)."""

    def __init__(
        self,
        port: int = contract.HTTP_PORT,
        tls_port: int = contract.TLS_PORT,
        trust: Trust | None = None,
    ) -> None:
        self._trust = trust or Trust()
        # Not by way of a proxy that the environment names for the world outside.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5)
        self._client = httpx.AsyncClient(trust_env=False, limits=limits, verify=self._trust.context)
        self._port, self._tls_port = port, tls_port

    async def close(self) -> None:
        await self._client.aclose()

    async def info(self, ip: str, contact: Contact) -> Info:
        """What serves in a pod, and what is being loaded."""
        return await self._ask(reports.INFO, self._request("GET", ip, contract.INFO_PATH, contact))

    async def load(self, ip: str, model: ModelRef, contact: Contact) -> None:
        """Has a pod begin to load a model, or swap to it at once if it still has it. Asking again changes nothing."""
        names = {"model_uri": model.model_uri, "model_name": model.model_name, "model_version": model.model_version}
        query = {name: value for name, value in names.items() if value} | {"wait": "false"}
        path = contract.LOAD_PATH.format(run_id=model.run_id)
        await self._ask(_ANYTHING, self._request("POST", ip, path, contact, query=query))

    async def samples(self, ip: str, rows: int, contact: Contact) -> Samples:
        """The newest rows of users' requests that the pod has kept, at most so many."""
        request = self._request("GET", ip, contract.SAMPLES_PATH, contact, query={"rows": str(rows)})
        try:
            return await self._ask(reports.SAMPLES, request)
        except AnswerError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return Samples()
            raise

    async def predict(
        self,
        ip: str,
        rows: Sequence[Row],
        contact: Contact,
        columns: Sequence[str] | None = None,
        seconds: float = PREDICT_SECONDS,
    ) -> Predictions:
        """A pod's answers to rows, without counting them as users' rows. With `columns`, by name: then models whose
        features are in another order can be asked the same. A pod with too much to do is asked once more, when it said
        or a little later: replays must not be what keeps it busy."""
        features = [dict(zip(columns, row, strict=True)) for row in rows] if columns else rows
        body = orjson.dumps({"features": features})
        try:
            return await self._predict(ip, body, contact, seconds)
        except AnswerError as error:
            if not error.shed or error.retry_after is None or error.retry_after > SHED_WAIT_SECONDS:
                raise
            await asyncio.sleep(error.retry_after * random.uniform(1, 1.5))
        return await self._predict(ip, body, contact, seconds)

    async def _predict(self, ip: str, body: bytes, contact: Contact, seconds: float) -> Predictions:
        request = self._request("POST", ip, contract.PREDICT_PATH, contact, body=body, seconds=seconds)
        started = time.perf_counter()
        answer = await self._ask(reports.PREDICTIONS, request, seconds, traced=False)
        return replace(answer, seconds=time.perf_counter() - started)

    def _request(
        self,
        method: str,
        ip: str,
        path: str,
        contact: Contact,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> httpx.Request:
        headers = dict(_REPLAYED) if body is not None else {}
        if contact.token:
            headers["Authorization"] = f"Bearer {contact.token}"
        scheme, port, extensions = "http", self._port, {}
        if contact.server_name is not None:  # a pod's certificate is for its Service: its address is not in it
            self._trust.refresh()
            scheme, port, extensions = "https", self._tls_port, {"sni_hostname": contact.server_name}
        return self._client.build_request(
            method,
            f"{scheme}://{_host(ip)}:{port}{path}",
            params=query,
            content=body,
            headers=headers,
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            extensions=extensions,
        )

    async def _ask(
        self,
        reader: TypeAdapter[Answer],
        request: httpx.Request,
        seconds: float = ANSWER_SECONDS,
        *,
        traced: bool = True,
    ) -> Answer:
        """`traced` not for what is measured by its time: a pod that traces it takes longer."""
        about = {"http.request.method": request.method, "url.path": request.url.path}
        try:
            with tracing.call("ask pod", about) if traced else nullcontext():
                if traced:
                    request.headers.update(tracing.headers())
                async with asyncio.timeout(seconds):
                    status, headers, content = await self._answer(request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise UnreachableError(f"{request.method} {request.url} gets no answer: {error!r}") from error
        if status == httpx.codes.UNAUTHORIZED and "Authorization" not in request.headers:
            raise AnswerError(status, "unauthorized", _NO_TOKEN)
        if httpx.codes.is_error(status):
            raise _refusal(status, headers, content)
        try:
            return reader.validate_json(content)
        except ValueError as error:
            said = content[:_SHOWN].decode(errors="replace")
            raise UnreachableError(f"{request.method} {request.url} answers {status} {said!r}") from error

    async def _answer(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body."""
        answer = await self._client.send(request, stream=True)
        try:
            content = b""
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise httpx.DecodingError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return answer.status_code, answer.headers, content
        finally:
            await answer.aclose()


def _refusal(status: int, headers: httpx.Headers, content: bytes) -> AnswerError:
    said = headers.get("retry-after", "")
    retry_after = float(said) if said.isdecimal() else None  # it may be a date, which Fairlead's servers never send
    try:
        problem = _PROBLEM.validate_json(content)
    except ValueError:
        return AnswerError(status, "", content[:_SHOWN].decode(errors="replace"), retry_after)
    return AnswerError(status, problem.type.removeprefix(_TYPE), problem.detail, retry_after)


def _host(ip: str) -> str:
    return f"[{ip}]" if ipaddress.ip_address(ip).version == 6 else ip
