"""A small MLflow tracking client over plain HTTP.

Importing MLflow's own client costs a second or more in every starting pod, and has no place in the server; the calls
that are needed here cost milliseconds. Credentials and TLS follow the environment variables of MLflow's client.
"""

import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from fairlead_service import addresses
from fairlead_service.contract import SEMANTIC_VERSION_TAG
from fairlead_service.failures import LoadError, not_found, unavailable
from fairlead_service.observability import stages

T = TypeVar("T")

ATTEMPTS: Final = 3
PATIENT: Final = 8
"""Attempts where much work would be lost: 40 s of pauses."""
BACKOFF_SECONDS: Final = 0.3
RETRY_AFTER_SECONDS: Final = 5.0
"""The longest `Retry-After` that is waited for."""
TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
RETRIED_STATUS: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class TrackingServer:
    """Where MLflow is and how to be let in."""

    url: str
    """Without credentials: it is in messages and spans."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    insecure_tls: bool = False
    server_certificate: str | None = None
    """Path of a CA bundle, for servers with a certificate of one's own."""
    client_certificate: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "TrackingServer":
        """Credentials in the URI are taken out of it. Raises LoadError(TrackingServerUnavailable) if the URI is missing
        or is no http(s) address."""
        environment = {**environment, **addresses.apart(environment)}
        url = environment.get(addresses.TRACKING_URI, "").rstrip("/")
        try:
            if urlsplit(url).scheme not in ("http", "https") or not httpx.URL(url).host:
                raise ValueError
        except (ValueError, httpx.InvalidURL):
            found = "" if "@" in url else f", not {url.partition('?')[0]!r}"
            raise unavailable(
                f"{addresses.TRACKING_URI} must be the http(s) address of an MLflow server{found}; a password belongs "
                f"into {addresses.TRACKING_PASSWORD}"
            ) from None
        return cls(
            url=url,
            username=environment.get(addresses.TRACKING_USERNAME),
            password=environment.get(addresses.TRACKING_PASSWORD),
            token=environment.get("MLFLOW_TRACKING_TOKEN"),
            insecure_tls=environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true"),
            server_certificate=environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH"),
            client_certificate=environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        )

    def tls(self) -> ssl.SSLContext | bool:
        if self.insecure_tls:
            return False
        if not (self.server_certificate or self.client_certificate):
            return True
        try:
            context = ssl.create_default_context(cafile=self.server_certificate)
            if self.client_certificate:
                context.load_cert_chain(self.client_certificate)
        except OSError as error:
            raise unavailable(f"the certificates for the MLflow server cannot be read: {error}") from error
        return context


class TrackingClient:
    """Requests that may be sent twice, with time-outs and a few retries; every failure is a LoadError that names the
    server."""

    def __init__(
        self,
        server: TrackingServer,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        timeout: httpx.Timeout = TIMEOUT,
        attempts: int = ATTEMPTS,
    ) -> None:
        auth = (server.username, server.password or "") if server.username else None
        headers = {"Authorization": f"Bearer {server.token}"} if server.token and auth is None else {}
        self.server = server
        self.url = server.url
        self._pause = pause
        self._attempts = attempts
        self._http = _Traced(
            base_url=server.url, auth=auth, headers=headers, verify=server.tls(), timeout=timeout, transport=transport
        )

    def __enter__(self) -> "TrackingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, /, **params: str) -> dict[str, Any]:
        """The JSON object at `/api/2.0/<path>`.

        Raises LoadError: ModelNotFound for 404 and refused parameters, TrackingServerUnavailable for the rest.
        """

        return self._retrying(lambda: self._json("GET", path, params=params))

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that `/api/2.0/<path>` answers to this one. As `get`, and 400 is ModelNotFound, too."""
        return self._retrying(lambda: self._json(method, path, json=dict(body)))

    def stream(self, path: str, receive: Callable[[Iterator[bytes]], None]) -> None:
        """Passes the body of `/api/2.0/<path>` to `receive`, which starts anew if a try fails."""

        def once() -> None:
            with self._streaming(path) as response:
                receive(response.iter_bytes(1 << 20))

        self._retrying(once)

    def _json(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        response = self._http.request(method, f"/api/2.0/{path}", **content)
        self._check(response)
        try:
            body = response.json()
        except ValueError as error:
            raise unavailable(f"{response.url} did not answer with JSON; is it an MLflow server?") from error
        if not isinstance(body, dict):
            raise unavailable(f"{response.url} did not answer with a JSON object; is it an MLflow server?")
        return body

    @contextmanager
    def _streaming(self, path: str) -> Iterator[httpx.Response]:
        with self._http.stream("GET", f"/api/2.0/{path}") as response:
            if response.is_error:
                response.read()
            self._check(response)
            yield response

    def _retrying(self, once: Callable[[], T]) -> T:
        attempt = 1
        while True:
            try:
                return once()
            except (httpx.TransportError, _RetriedStatusError) as error:
                asked = error.retry_after if isinstance(error, _RetriedStatusError) else 0.0
                if attempt == self._attempts:
                    raise unavailable(
                        f"the MLflow server {self.url} does not answer after {attempt} tries: {_describe(error)}"
                    ) from error
            self._pause(asked + BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            attempt += 1

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        said, code = _said(response)
        if response.status_code in RETRIED_STATUS:
            raise _RetriedStatusError(f"{response.status_code} {said}", _retry_after(response))
        if response.is_redirect:
            raise self._moved(response)
        raise self._refusal(response.status_code, said, code)

    def _moved(self, response: httpx.Response) -> LoadError:
        """A redirect is not followed: credentials were meant for the address that was set."""
        target = addresses.shown(response.headers.get("location", ""))[:300].partition("?")[0]
        where = f"to {target}" if target else "without saying where to"
        return unavailable(
            f"MLflow at {self.url} answers {response.status_code} and redirects {where}; set MLFLOW_TRACKING_URI to "
            "the address that answers itself (https, or past a login page)"
        )

    def _refusal(self, status: int, said: str, code: str | None) -> LoadError:
        if status in (400, 404) and code is not None:
            return not_found(f"MLflow at {self.url} answers {status}: {said}")
        if status == 404:
            return unavailable(f"{self.url} answers 404 and not as MLflow does; is MLFLOW_TRACKING_URI right? {said}")
        if status == 403 and "Invalid Host header" in said:
            return unavailable(
                f"MLflow at {self.url} refuses the host name it was called by (403 {said}); "
                "add that name, with and without its port, to `mlflow server --allowed-hosts`"
            )
        if status in (401, 403):
            return unavailable(
                f"MLflow at {self.url} refuses the credentials ({status} {said}); "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        return unavailable(f"MLflow at {self.url} answers {status}: {said}")


def quoted(text: str) -> str:
    """As a string of MLflow's filters, which know no escapes. Raises LoadError(ModelNotFound) for what has no form."""
    if "'" in text and '"' in text:
        raise not_found(f"{text!r} has both kinds of quotes, which MLflow can't be asked for")
    return f'"{text}"' if "'" in text else f"'{text}'"


def semantic_version_is(name: str, wanted: str) -> str:
    """The filter of a search for a model's versions with this tag. Raises as `quoted`."""
    return f"name = {quoted(name)} and tag.`{SEMANTIC_VERSION_TAG}` = {quoted(wanted)}"


class _Traced(httpx.Client):
    """Each request is a client span, if there are any."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        with stages.call(request.method, str(request.url)) as headers:
            request.headers.update(headers)
            return super().send(request, **options)


class _RetriedStatusError(Exception):
    """An answer that a second try may change, after as many seconds as the server asks for."""

    def __init__(self, said: str, retry_after: float) -> None:
        super().__init__(said)
        self.retry_after = retry_after


def _retry_after(response: httpx.Response) -> float:
    """Seconds, within reason: somebody waits here. Of a date (RFC 9110, 10.2.3), which MLflow does not send, 0."""
    said = response.headers.get("retry-after", "")
    return min(float(said), RETRY_AFTER_SECONDS) if said.isdecimal() else 0.0


def _said(response: httpx.Response) -> tuple[str, str | None]:
    """The server's own words and MLflow's error code; without one, the start of the text."""
    try:
        body = response.json()
        return str(body["message"]).strip()[:500], str(body["error_code"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:500], None


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, httpx.TransportError) else str(error)
