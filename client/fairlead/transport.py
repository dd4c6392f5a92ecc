"""What both clients share beside the calls: settings, how a call becomes a request of httpx, what an answer means."""

import os
import random
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from typing import Any, Final, TypeVar

import httpx

from fairlead.calls import Call
from fairlead.errors import ApiError, FairleadError, JobError, UnreachableError, from_answer
from fairlead.results import Training, TrainingJob
from fairlead.retries import Lost, Retries, wait_for

T = TypeVar("T")
URL_VARIABLE: Final = "FAIRLEAD_URL"
KEY_VARIABLE: Final = "FAIRLEAD_API_KEY"
DEFAULT_URL: Final = "http://127.0.0.1:8000"
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Tls:
    """How a server with https is known, and who the client is to it, where the usual authorities do not do."""

    ca_file: str | PathLike[str] | None = None
    """Certificates of the authorities to trust, in PEM; the system's without it."""
    certificate_file: str | PathLike[str] | None = None
    """The client's own, for servers that ask for one (mutual TLS)."""
    key_file: str | PathLike[str] | None = None
    server_name: str | None = None
    """What the server's certificate has to be for, if not the URL's host: behind a port-forward `fraud.models.svc`."""

    def context(self) -> ssl.SSLContext:
        """Raises OSError, and its kind ssl.SSLError, for files that cannot be read or are no certificates."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


@dataclass(frozen=True)
class Settings:
    url: str
    headers: Mapping[str, str]
    retries: Retries
    tls: Tls | None = None

    @classmethod
    def of(cls, url: str | None, api_key: str | None, retries: Retries | None, tls: Tls | None = None) -> "Settings":
        """What is not given comes from FAIRLEAD_URL and FAIRLEAD_API_KEY. ValueError for what is no URL, no key."""
        url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        key = api_key or os.environ.get(KEY_VARIABLE)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the URL must begin with http:// or https://, not {url!r}")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("the API key has characters that no key has; is there a line break at its end?")
        headers = {"user-agent": f"fairlead-python/{version('fairlead')}", "accept": "application/json"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        return cls(url.rstrip("/"), headers, retries or Retries(), tls)

    @property
    def http(self) -> dict[str, Any]:
        """Arguments of httpx's clients."""
        verify = self.tls.context() if self.tls is not None else True
        return {"base_url": self.url, "headers": dict(self.headers), "verify": verify}


@contextmanager
def request(settings: Settings, call: Call[Any]) -> Iterator[dict[str, Any]]:
    """Arguments of httpx's `request`; an upload's file is open while the context lasts."""
    timeout = httpx.Timeout(call.seconds, connect=_CONNECT_SECONDS)
    asked: dict[str, Any] = {"method": call.method, "url": call.path, "params": call.parameters, "timeout": timeout}
    if settings.tls is not None and settings.tls.server_name is not None:
        asked["extensions"] = {"sni_hostname": settings.tls.server_name}
    if call.upload is not None:
        with call.upload.path.open("rb") as file:
            parts = {"request": call.upload.request.decode()}
            yield asked | {"data": parts, "files": {"file": (call.upload.path.name, file)}}
        return
    if call.body is not None:
        asked |= {"content": call.body, "headers": {"content-type": "application/json"}}
    yield asked


def understand(call: Call[T], answer: httpx.Response) -> T:
    """Raises ApiError, FairleadError."""
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        raise from_answer(answer.status_code, answer.reason_phrase, answer.headers, answer.content)
    try:
        return call.parse(answer.json())
    except ValueError as error:
        where = f"{call.method} {answer.url}"
        raise FairleadError(
            f"{where} answered {answer.status_code}, but not as a Fairlead API does: {error}"
        ) from error


def pause(settings: Settings, call: Call[Any], attempt: int, error: ApiError | httpx.TransportError) -> float:
    """Seconds until it is tried again. Raises what is to be told, if it is not."""
    outcome = error if isinstance(error, ApiError) else Lost(sent=not isinstance(error, _UNSENT))
    seconds = wait_for(settings.retries, attempt, outcome, call.repeatable, random.random())
    if seconds is not None:
        return seconds
    if isinstance(error, ApiError):
        raise error
    times = f" after {attempt} attempts" if attempt > 1 else ""
    said = str(error) or type(error).__name__
    raise UnreachableError(f"{call.method} {settings.url}{call.path}: no answer{times} ({said})") from error


def result(job: TrainingJob) -> Training:
    """Of a job that has ended. Raises JobError."""
    if job.result is not None:
        return job.result
    problem = job.problem or {"title": "The training ended without a model", "detail": job.message or job.state}
    raise JobError(job.id, job.state, problem)
