"""What the server asks MLflow itself: its registry and its runs. Models and data are the children's business.

Each call is a few small requests in a thread, with time-outs and retries. After several calls in a row that MLflow did
not answer, the circuit is open for a while, and callers are told at once what they would else wait for. The threads are
the registry's own: an MLflow that stalls must not take those that decode long bodies and compress long answers.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import httpx

from fairlead_service import errors
from fairlead_service.circuit import Circuit
from fairlead_service.contract import SEMANTIC_VERSION_TAG, FailureReason
from fairlead_service.errors import AlreadyTaken, QueueFull, RegistryNotFound, ShuttingDown, TrackingServerUnavailable
from fairlead_service.failures import LoadError
from fairlead_service.tracking import TrackingClient, TrackingServer, quoted, semantic_version_is

T = TypeVar("T")

_VERSIONS: Final = 100
_FAILURES: Final = 3
_OPEN_SECONDS: Final = 15
_THREADS: Final = 4
_CALLS: Final = 64
"""That run or wait; each waits at most for a few that time out, and then for none: the circuit is open."""
_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
"""Of one try. Somebody waits for these calls."""
_LEAVING: Final = "MLflow is not asked any more; send it to another server or again later"


class Registry:
    def __init__(self, environment: Mapping[str, str], count: Callable[[str], None]) -> None:
        """`count` hears how each call ended: answered, refused, unavailable or rejected (by the open circuit)."""
        self._environment = environment
        self._count = count
        self.circuit = Circuit("mlflow", _FAILURES, _OPEN_SECONDS)
        self._client: TrackingClient | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="registry")
        self._connecting = threading.Lock()
        self._closed = asyncio.Event()
        self._leaving = threading.Event()
        """The same, for the threads."""
        self._calls = 0

    async def call(self, work: Callable[[TrackingClient], T]) -> T:
        """Runs `work` in a thread. Raises RegistryNotFound, TrackingServerUnavailable, QueueFull, ShuttingDown."""
        if self._calls >= _CALLS:
            detail = f"{_CALLS} questions to MLflow are waiting; send it again later"
            raise QueueFull(detail, headers={"Retry-After": "5"})
        self._calls += 1
        try:
            found = await self._unless_closed(work)
        except LoadError as error:
            self._count("unavailable" if _away(error) else "refused")
            if _away(error):
                raise errors.from_child(error.reason, error.message, None) from error
            raise RegistryNotFound(error.message) from error
        finally:
            self._calls -= 1
        self._count("answered")
        return found

    def close(self) -> None:
        """Calls that run or wait end with ShuttingDown at once, their threads after the try that they are in."""
        self._closed.set()
        self._leaving.set()
        if self._client is not None:
            self._client.close()
        self._threads.shutdown(wait=False)

    async def _unless_closed(self, work: Callable[[TrackingClient], T]) -> T:
        if self._closed.is_set():
            raise ShuttingDown(_LEAVING)
        # With the caller's context, as asyncio.to_thread does: spans of the requests belong to its own.
        running = contextvars.copy_context().run
        asked = asyncio.get_running_loop().run_in_executor(self._threads, running, self._ask, work)
        closed = asyncio.create_task(self._closed.wait())
        either: set[asyncio.Future[Any]] = {asked, closed}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if not asked.done():
            asked.add_done_callback(lambda late: late.exception())  # nobody is interested any more
            raise ShuttingDown(_LEAVING)
        return asked.result()

    def _ask(self, work: Callable[[TrackingClient], T]) -> T:
        self._pause(0)
        if not self.circuit.admits():
            self._count("rejected")
            message = f"MLflow did not answer lately; it is asked again within {_OPEN_SECONDS} s"
            raise TrackingServerUnavailable(message, headers={"Retry-After": str(_OPEN_SECONDS)})
        try:
            found = work(self._connected())
        except LoadError as error:
            self.circuit.note(answered=not _away(error))
            raise
        self.circuit.note(answered=True)
        return found

    def _pause(self, seconds: float) -> None:
        """Between two tries. Raises ShuttingDown."""
        if self._leaving.wait(seconds):
            raise ShuttingDown(_LEAVING)

    def _connected(self) -> TrackingClient:
        with self._connecting:
            if self._client is None:
                server = TrackingServer.from_environment(self._environment)
                self._client = TrackingClient(server, pause=self._pause, timeout=_TIMEOUT)
            return self._client


def models(client: TrackingClient, limit: int, page_token: str | None) -> dict[str, Any]:
    asked = {"max_results": str(limit)} | ({"page_token": page_token} if page_token else {})
    return client.get("mlflow/registered-models/search", **asked)


def model(client: TrackingClient, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A registered model and its versions, the newest first."""
    found = client.get("mlflow/registered-models/get", name=name)["registered_model"]
    asked = {"filter": f"name = {quoted(name)}", "max_results": str(_VERSIONS), "order_by": "version_number DESC"}
    return found, client.get("mlflow/model-versions/search", **asked).get("model_versions", [])


def describe(client: TrackingClient, name: str, description: str) -> None:
    client.send("PATCH", "mlflow/registered-models/update", {"name": name, "description": description})


def change_version(
    client: TrackingClient, name: str, version: str, description: str | None, tags: Mapping[str, str | None]
) -> None:
    """Raises AlreadyTaken if another version has this semantic version."""
    own = {"name": name, "version": version}
    client.get("mlflow/model-versions/get", **own)
    wanted = tags.get(SEMANTIC_VERSION_TAG)
    if wanted is not None:
        taken = [other for other in _with_semantic_version(client, name, wanted) if other != version]
        if taken:
            raise AlreadyTaken(f"version {taken[0]} of {name} is {wanted} already; a semantic version is given once")
    if description is not None:
        client.send("PATCH", "mlflow/model-versions/update", own | {"description": description})
    for key, value in tags.items():
        if value is None:
            client.send("DELETE", "mlflow/model-versions/delete-tag", own | {"key": key})
        else:
            client.send("POST", "mlflow/model-versions/set-tag", own | {"key": key, "value": value})


def move_alias(
    client: TrackingClient, name: str, alias: str, version: str | None, semantic_version: str | None
) -> tuple[str | None, str]:
    """The version that the alias pointed at, and the one it points at now. Raises RegistryNotFound."""
    if version is None:
        found = _with_semantic_version(client, name, semantic_version or "")
        if not found:
            raise RegistryNotFound(f"no version of {name} is {semantic_version}; GET /models/{name} lists them")
        version = found[0]
    aliases = client.get("mlflow/registered-models/get", name=name)["registered_model"].get("aliases", [])
    before = {entry["alias"]: str(entry["version"]) for entry in aliases}.get(alias)
    client.get("mlflow/model-versions/get", name=name, version=version)
    client.send("POST", "mlflow/registered-models/alias", {"name": name, "alias": alias, "version": version})
    return before, version


def remove_alias(client: TrackingClient, name: str, alias: str) -> None:
    client.get("mlflow/registered-models/alias", name=name, alias=alias)  # MLflow deletes what is not there, too
    client.send("DELETE", "mlflow/registered-models/alias", {"name": name, "alias": alias})


def runs(client: TrackingClient, experiment: str, search: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of MLflow's `runs/search` in one experiment, by its name."""
    found = client.get("mlflow/experiments/get-by-name", experiment_name=experiment)["experiment"]
    return client.send("POST", "mlflow/runs/search", {"experiment_ids": [found["experiment_id"]], **search})


def runs_by_id(client: TrackingClient, run_ids: list[str]) -> list[dict[str, Any]]:
    """In the order asked for."""
    return [client.get("mlflow/runs/get", run_id=run_id)["run"] for run_id in run_ids]


def _with_semantic_version(client: TrackingClient, name: str, wanted: str) -> list[str]:
    query = semantic_version_is(name, wanted)
    found = client.get("mlflow/model-versions/search", filter=query, max_results="10").get("model_versions", [])
    return [str(version["version"]) for version in found]


def _away(error: LoadError) -> bool:
    return error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE
