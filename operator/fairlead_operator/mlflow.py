"""MLflow's REST API, the few calls the operator makes. The only module that speaks HTTP to it.

Each function answers with `ModelRef` or raises: `MissingError` when MLflow says there is no such thing,
`UnavailableError` when it says nothing useful.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from fairlead_operator import tracing
from fairlead_operator.api import ModelRef
from fairlead_operator.reference import LoggedModelReference, RegisteredModel, RunReference, VersionReference
from fairlead_operator.trust import Trust

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
MAX_MODELS_OF_A_RUN = 50
OVERLOADED = (429, 502, 503, 504)
"""What MLflow, or a proxy before it, says to everybody."""
MAX_MESSAGE: Final = 1000
"""Characters of a message of MLflow's that are repeated."""
_LOGGED_MODEL: Final = re.compile(r"models:/(m-[0-9a-f]{32})/?")


class MissingError(Exception):
    """MLflow knows no such run, version or alias, or the run has no such model. The message says which."""


class UnavailableError(Exception):
    """MLflow does not answer, or answers with something that is not about the question."""

    def __init__(self, message: str, down: bool = False) -> None:
        """`down`: nobody would get an answer now. Otherwise it is about this one question, such as a right that is
        missing, and others may fare better."""
        super().__init__(message)
        self.down = down


class MLflow:
    def __init__(
        self,
        tracking_uri: str,
        auth: tuple[str, str] | None = None,
        token: str | None = None,
        trust: Trust | None = None,
    ) -> None:
        """`auth` is a user and a password; `token` a bearer token; `trust` says which authorities may have signed
        MLflow's certificate (the system's by default)."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._uri = tracking_uri.rstrip("/")
        self._trust = trust or Trust()
        self._client = httpx.AsyncClient(
            base_url=f"{self._uri}/api/2.0/mlflow",
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            auth=httpx.BasicAuth(*auth) if auth else None,
            headers=headers,
            verify=self._trust.context,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def registered_model(self, name: str) -> RegisteredModel:
        """What all aliases of a name mean now."""
        what = f"registered model {name}"
        answer = await self._get("registered-models/get", what, name=name)
        with self._reading(what):
            raw = answer["registered_model"]
            aliases = {found["alias"]: str(found["version"]) for found in raw.get("aliases", [])}
            newest = max((int(found["version"]) for found in raw.get("latest_versions", [])), default=None)
            created = int(raw.get("creation_timestamp", 0))
        return RegisteredModel(name, created, aliases, None if newest is None else str(newest))

    async def version(self, reference: VersionReference) -> ModelRef:
        what = f"model version {reference}"
        answer = await self._get("model-versions/get", what, name=reference.name, version=reference.version)
        with self._reading(what):
            return _version(answer["model_version"])

    async def logged_model(self, reference: LoggedModelReference) -> ModelRef:
        """A logged model by its own ID. Its run identifies it, or the ID where it was logged outside a run."""
        what = f"logged model {reference.model_id}"
        answer = await self._get(f"logged-models/{reference.model_id}", what)
        with self._reading(what):
            info = answer["model"]["info"]
            if info.get("status", "LOGGED_MODEL_READY") != "LOGGED_MODEL_READY":
                raise MissingError(f"MLflow's {what} is {info['status']}, not LOGGED_MODEL_READY.")
            return ModelRef(run_id=info.get("source_run_id") or reference.model_id, model_uri=str(reference))

    async def run(self, reference: RunReference) -> ModelRef:
        """Checks that the run is there and has logged a model under the path."""
        what = f"run {reference.run_id}"
        answer = await self._get("runs/get", what, run_id=reference.run_id)
        with self._reading(what):
            run = answer["run"]
            if run["info"].get("lifecycle_stage") == "deleted":
                raise MissingError(f"MLflow run {reference.run_id} is deleted.")
            names = await self._models(run)
        if reference.path not in names:
            has = f"it has {', '.join(sorted(names))}" if names else "it has none"
            raise MissingError(f"MLflow run {reference.run_id} has no model named {reference.path!r}: {has}.")
        return ModelRef(run_id=reference.run_id, model_uri=str(reference))

    async def _models(self, run: Mapping[str, Any]) -> set[str]:
        """Names of a run's models: MLflow 3 lists them as outputs, MLflow 2 kept them in a tag."""
        names = set()
        for output in run.get("outputs", {}).get("model_outputs", [])[:MAX_MODELS_OF_A_RUN]:
            answer = await self._get(f"logged-models/{output['model_id']}", f"model {output['model_id']}")
            names.add(str(answer["model"]["info"]["name"]))
        tags = {tag["key"]: tag["value"] for tag in run.get("data", {}).get("tags", [])}
        try:
            logged = json.loads(tags.get("mlflow.log-model.history", "[]"))
            return names | {str(model["artifact_path"]) for model in logged if "artifact_path" in model}
        except (ValueError, TypeError):  # a tag is text that anybody may have written
            return names

    async def tag_version(self, name: str, version: str, key: str, value: str) -> None:
        """Sets a tag on a registered version; another value of the same key goes."""
        body = {"name": name, "version": version, "key": key, "value": value}
        await self._request("POST", "model-versions/set-tag", f"model version {name} {version}", json=body)

    async def tag_run(self, run_id: str, key: str, value: str) -> None:
        body = {"run_id": run_id, "key": key, "value": value}
        await self._request("POST", "runs/set-tag", f"run {run_id}", json=body)

    async def tag_logged_model(self, model_id: str, key: str, value: str) -> None:
        """For a model that was logged outside a run."""
        body = {"tags": [{"key": key, "value": value}]}
        await self._request("PATCH", f"logged-models/{model_id}/tags", f"logged model {model_id}", json=body)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """An answer in another form, such as a proxy's login page, says nothing about the question."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"MLflow at {self._uri} answers about {what} with something else than MLflow does: {error!r}"
            raise UnavailableError(message) from error

    async def _get(self, path: str, what: str, **query: str) -> Any:
        return await self._request("GET", path, what, params=query)

    async def _request(self, method: str, path: str, what: str, **more: Any) -> Any:
        with tracing.call("ask MLflow", {"http.request.method": method, "url.path": path}):
            return await self._answer(method, path, what, **more)

    async def _answer(self, method: str, path: str, what: str, **more: Any) -> Any:
        self._trust.refresh()
        try:
            answer = await self._client.request(method, path, headers=tracing.headers(), **more)
        except (httpx.HTTPError, ValueError) as error:  # ValueError: anyio's, of a connection cut off on a busy machine
            raise UnavailableError(f"MLflow at {self._uri} does not answer: {error!r}", down=True) from error
        try:
            content = answer.json()
        except ValueError:
            content = None
        if answer.is_success and isinstance(content, dict) and (content or method != "GET"):
            return content
        problem = content if isinstance(content, dict) else {}
        code, message = problem.get("error_code", ""), str(problem.get("message", answer.text[:200]))[:MAX_MESSAGE]
        if code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise MissingError(f"MLflow has no {what}: {message}")
        said = f"MLflow at {self._uri} answers {answer.status_code} {code} about {what}: {message}"
        raise UnavailableError(said, down=answer.status_code in OVERLOADED)


def _version(raw: Mapping[str, Any]) -> ModelRef:
    """The run identifies it, or the logged model's own ID (`m-…`) where it was logged outside a run."""
    name, version, source = raw["name"], str(raw["version"]), str(raw.get("source") or "")
    logged = _LOGGED_MODEL.fullmatch(source)
    run_id = raw.get("run_id") or raw.get("model_id") or (logged[1] if logged else "")
    if not run_id:
        raise MissingError(
            f"{name} version {version} was registered from {source or 'nowhere'}, which is neither a run nor a logged "
            "model: log the model with MLflow and register that."
        )
    if raw.get("status", "READY") != "READY":
        raise MissingError(f"{name} version {version} is {raw['status']}, not READY.")
    return ModelRef(run_id=run_id, model_uri=f"models:/{name}/{version}", model_name=name, model_version=version)
