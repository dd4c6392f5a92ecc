"""Bodies of requests and answers about what MLflow has: registered models, their versions, runs."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from fairlead_service.contract import SEMANTIC_VERSION_TAG
from fairlead_service.schemas import Answer, Request, Text
from fairlead_service.schemas_train import SemanticVersion

VersionNumber = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}$")]
Value = Annotated[str, StringConstraints(max_length=5000)]


class ModelVersion(Answer):
    version: str
    semantic_version: str | None = None
    description: str | None = None
    aliases: list[str] = Field(default_factory=list, description="Those that point at this version")
    run_id: str | None = None
    status: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: datetime | None = None


class RegisteredModel(Answer):
    name: str
    description: str | None = None
    aliases: dict[str, str] = Field(default_factory=dict, description="Version by alias")
    tags: dict[str, str] = Field(default_factory=dict)
    updated_at: datetime | None = None


class RegisteredModels(Answer):
    models: list[RegisteredModel]
    next_page_token: str | None = Field(default=None, description="For `page_token`; none: that was all")


class ModelDetails(RegisteredModel):
    versions: list[ModelVersion] = Field(description="The newest first, a hundred at most")


class ModelChange(Request):
    description: Value


class VersionChange(Request):
    description: Value | None = None
    semantic_version: SemanticVersion | None = None
    tags: dict[Text, Value | None] = Field(default_factory=dict, max_length=100, description="null removes a tag")


class AliasMove(Request):
    """One of both."""

    version: VersionNumber | None = None
    semantic_version: SemanticVersion | None = None

    @model_validator(mode="after")
    def _one(self) -> "AliasMove":
        if (self.version is None) == (self.semantic_version is None):
            raise ValueError("send version or semantic_version")
        return self


class Run(Answer):
    run_id: str
    name: str | None = None
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    metrics: dict[str, float]
    parameters: dict[str, str]
    tags: dict[str, str] = Field(description="Without MLflow's own")
    parent_run_id: str | None = Field(default=None, description="Of a candidate: the run of its search")


class Runs(Answer):
    runs: list[Run]
    next_page_token: str | None = None


def of_model(found: dict[str, Any]) -> dict[str, Any]:
    """A registered model of MLflow's REST API as fields of `RegisteredModel`."""
    return {
        "name": found["name"],
        "description": found.get("description") or None,
        "aliases": {entry["alias"]: str(entry["version"]) for entry in found.get("aliases", [])},
        "tags": _pairs(found.get("tags", [])),
        "updated_at": _when(found.get("last_updated_timestamp")),
    }


def of_version(found: dict[str, Any], aliases: dict[str, str]) -> dict[str, Any]:
    """A model version as fields of `ModelVersion`; `aliases` of its model, version by alias."""
    tags, number = _pairs(found.get("tags", [])), str(found["version"])
    return {
        "version": number,
        "semantic_version": tags.pop(SEMANTIC_VERSION_TAG, None),
        "description": found.get("description") or None,
        "aliases": sorted(alias for alias, version in aliases.items() if version == number),
        "run_id": found.get("run_id") or None,
        "status": found.get("status"),
        "tags": tags,
        "created_at": _when(found.get("creation_timestamp")),
    }


def of_run(found: dict[str, Any]) -> dict[str, Any]:
    """A run as fields of `Run`."""
    info, data = found["info"], found.get("data", {})
    tags = _pairs(data.get("tags", []))
    return {
        "run_id": info["run_id"],
        "name": info.get("run_name") or tags.get("mlflow.runName"),
        "status": info["status"],
        "started_at": _when(info.get("start_time")),
        "ended_at": _when(info.get("end_time")),
        "metrics": {entry["key"]: entry["value"] for entry in data.get("metrics", [])},
        "parameters": _pairs(data.get("params", [])),
        "tags": {key: value for key, value in tags.items() if not key.startswith("mlflow.")},
        "parent_run_id": tags.get("mlflow.parentRunId"),
    }


def _pairs(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {str(entry["key"]): str(entry.get("value", "")) for entry in entries}


def _when(milliseconds: int | str | None) -> float | None:
    """Seconds since 1970, which pydantic takes for a time in UTC."""
    return int(milliseconds) / 1000 if milliseconds else None
