"""The Kubernetes API: get, list, server-side apply. The only module that knows the client library.

Paths are built here instead of being discovered, so starting costs no discovery requests, and objects stay plain
dicts: no model classes are made for them.
"""

import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import orjson
from kubernetes.aio import client, config

from fairlead_operator import tracing
from fairlead_operator.api import ADMITTED, FIELD_MANAGER, OWNER_LABEL, Manifest
from fairlead_operator.kinds import EVENT, LEASE, POD, Kind
from fairlead_operator.metrics import REQUESTS

TIMEOUT_SECONDS = 30.0
PAGE = 100
"""Objects of one answer, of the lists here and of those of the watches."""
STREAM_SECONDS = 300
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
UNTYPED = "failed to create typed patch object"
"""With these words, and as an internal error, the API server refuses an apply whose fields or types are not in the
schema."""


class Page(NamedTuple):
    """Of a list."""

    items: list[Manifest]
    version: str
    """Of the whole list: every page has the same."""


class KubeError(Exception):
    """The API server answered with an error, or not at all; worth trying again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class NotFoundError(KubeError):
    """No such object or namespace."""


class ConflictError(KubeError):
    """Another object than the one that the request is about, or none."""


class RefusedError(KubeError):
    """The request itself is refused: invalid (400, 422, or 500 where the schema does not know a field) or not allowed
    (403). Trying again alone does not help."""

    @property
    def invalid(self) -> bool:
        return self.status in (400, 422, 500)


class Kube:
    def __init__(self, api: Any) -> None:
        self._api = api
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before every write but those of Leases: only a leader may."""

    @classmethod
    async def connect(cls) -> Self:
        """With the service account in a pod, else with the kubeconfig."""
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        # Else aiohttp looks for ~/.netrc in a thread before every request.
        settings.client_session_kwargs = {"trust_env": bool(urllib.request.getproxies())}
        return cls(client.ApiClient(configuration=settings))

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._request("GET", kind.path(namespace, name), what=f"get {kind.kind}")
        except NotFoundError:
            return None

    async def pages(self, kind: Kind, namespace: str) -> AsyncIterator[Page]:
        """All objects of a kind that are ours to see in a namespace (empty: in all)."""
        query = [("limit", str(PAGE))]
        if kind.labelled:
            query.append(("labelSelector", OWNER_LABEL))
        token = ""
        while True:
            more = [("continue", token)] if token else []
            page = await self._request("GET", kind.path(namespace), [*query, *more])
            items = [{"kind": kind.kind, "apiVersion": page["apiVersion"], **item} for item in page["items"]]
            yield Page(items, page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply, forced: conflicts about fields we set are ours to win. Returns the stored object."""
        return await self._apply(kind, manifest, None)

    async def hand_over(self, kind: Kind, manifest: Manifest) -> None:
        """Applies as somebody else, so that fields do not go when we no longer set them."""
        await self._apply(kind, manifest, None, f"{FIELD_MANAGER}-handover")

    async def overwrite(self, kind: Kind, manifest: Manifest) -> None:
        """Merge patch: lists become exactly ours. For what server-side apply cannot mend: where a list's key was edited
        (the port of a Service), it would add our entry beside the edited one, and two of one name are refused. Only of
        the very object whose UID the manifest has."""
        metadata = manifest["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "spec": manifest["spec"]}
        query = [("fieldManager", FIELD_MANAGER)]
        path, what = kind.path(metadata["namespace"], metadata["name"]), f"overwrite {kind.kind}"
        stored = await self._request("PATCH", path, query, body, "application/merge-patch+json", what)
        # Otherwise the fields would have two owners of our name, the patch and the apply, and an apply that leaves one
        # out later would not remove it.
        fields = [entry for entry in stored["metadata"]["managedFields"] if not _by_patch(entry)]
        disown = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": stored["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": fields or [{}]},
        ]
        await self._request("PATCH", path, query, disown, "application/json-patch+json", what)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Deletes this very object with what it owns; another of the same name, or none, is fine."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", kind.path(namespace, name), body=body, what=f"delete {kind.kind}")
        except KubeError as error:
            if error.status not in (404, 409):
                raise

    async def admit(self, namespace: str, pod: str, now: datetime) -> Manifest:
        """Opens a pod's readiness gate."""
        condition = {"type": ADMITTED, "status": "True", "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        path = POD.path(namespace, pod, "status")
        query = [("fieldManager", FIELD_MANAGER)]
        body = {"status": {"conditions": [condition]}}
        return await self._request("PATCH", path, query, body, "application/strategic-merge-patch+json", "admit Pod")

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        return await self._apply(kind, manifest, "status")

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Only the very version that the manifest names. Raises ConflictError."""
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        return await self._request("PUT", path, body=manifest, what=f"replace {kind.kind}")

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        path = kind.path(manifest["metadata"]["namespace"])
        return await self._request("POST", path, body=manifest, what=f"create {kind.kind}")

    async def warnings(self, namespace: str, pod: str) -> list[Manifest]:
        """Warning Events about a pod."""
        about = f"involvedObject.kind=Pod,involvedObject.name={pod},type=Warning"
        query = [("fieldSelector", about), ("limit", str(PAGE))]
        found = await self._request("GET", EVENT.path(namespace), query, what="list Events")
        events: list[Manifest] = found["items"]
        return events

    async def served(self, kind: Kind) -> bool:
        """Whether the API server knows the kind at all."""
        try:
            found = await self._request("GET", f"/apis/{kind.group}/{kind.version}")
        except NotFoundError:
            return False
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def groups(self) -> frozenset[str]:
        """Every API group but the core one."""
        found = await self._request("GET", "/apis")
        return frozenset(group["name"] for group in found["groups"])

    async def watch(self, kind: Kind, namespace: str, since: str) -> AsyncIterator[dict[str, Any]]:
        """The events after a version, in one stream, which ends after some minutes."""
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(STREAM_SECONDS))]
        query.append(("resourceVersion", since))
        query += [("labelSelector", OWNER_LABEL)] if kind.labelled else []
        answer = await self._send("GET", kind.path(namespace), query, seconds=STREAM_SECONDS + TIMEOUT_SECONDS)
        if answer.status >= 300:
            raise _error(answer.status, await answer.read())
        rest = b""
        try:
            async for chunk in answer.response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield orjson.loads(line)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return  # cut off: the next stream goes on
        finally:
            answer.response.close()

    async def _apply(
        self, kind: Kind, manifest: Manifest, subresource: str | None, manager: str = FIELD_MANAGER
    ) -> Manifest:
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"], subresource)
        query = [("fieldManager", manager), ("force", "true")]
        what = " ".join(("apply", kind.kind, *([subresource] if subresource else [])))
        return await self._request("PATCH", path, query, manifest, "application/apply-patch+yaml", what)

    async def _request(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Manifest | list[Manifest] | None = None,
        content_type: str = "application/json",
        what: str = "ask Kubernetes",
    ) -> Manifest:
        """`what` is the name of its span."""
        with tracing.call(what, {"http.request.method": method, "url.path": path}):
            answer = await self._send(method, path, query or [], body, content_type)
            try:
                content = await answer.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise KubeError(0, f"The API server does not answer: {error!r}") from error
            if answer.status >= 300:
                raise _error(answer.status, content)
            result: Manifest = orjson.loads(content)
            return result

    async def _send(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: Manifest | list[Manifest] | None = None,
        content_type: str = "application/json",
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """The answer with its head read, whatever it says."""
        if method != "GET" and f"/{LEASE.plural}" not in path and not self.may_write():
            raise KubeError(0, "This replica does not lead any more, so it writes nothing.")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = await self._api.param_serialize(
            method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = await self._api.call_api(*request, _request_timeout=seconds)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            REQUESTS.labels(method, "none").inc()
            raise KubeError(0, f"The API server does not answer: {error!r}") from error
        REQUESTS.labels(method, f"{answer.status // 100}xx").inc()
        return answer


def own_namespace() -> str:
    """Of the pod that this runs in; `default` outside of any."""
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"


def _error(status: int, content: bytes) -> KubeError:
    try:
        told = orjson.loads(content)
        message = told["message"]
        fields = {cause.get("field") for cause in (told.get("details") or {}).get("causes", [])}
    except (ValueError, KeyError, TypeError, AttributeError):
        message, fields = content[:500].decode(errors="replace"), set()
    kinds = {404: NotFoundError, 409: ConflictError, 400: RefusedError, 403: RefusedError, 422: RefusedError}
    kind = ConflictError if fields == {"metadata.uid"} else kinds.get(status, KubeError)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and UNTYPED in message:
        kind = RefusedError
    return kind(status, message)


def _by_patch(entry: Manifest) -> bool:
    return (entry["manager"], entry["operation"], entry.get("subresource", "")) == (FIELD_MANAGER, "Update", "")
