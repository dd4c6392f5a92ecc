"""Bodies of requests and answers about what MLflow has: registered models, their versions, runs."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from fairlead_service import patterns
from fairlead_service.contract import SEMANTIC_VERSION_TAG
from fairlead_service.schemas import Answer, Request, Text, Value, own_tags
from fairlead_service.schemas_train import SemanticVersion

VersionNumber = Annotated[str, StringConstraints(pattern=patterns.VERSION_NUMBER)]


class ModelVersion(Answer):
    """A version of a registered model."""

    version: str = Field(description="Its number")
    semantic_version: str | None = Field(default=None, description="Such as 1.4.0, if it has one")
    description: str | None = Field(default=None, description="What people wrote about it")
    aliases: list[str] = Field(default_factory=list, description="Those that point at this version")
    run_id: str | None = Field(default=None, description="The MLflow run that it is from")
    status: str | None = Field(default=None, description="MLflow's, such as READY")
    tags: dict[str, str] = Field(default_factory=dict, description="By name")
    created_at: datetime | None = Field(default=None, description="When it was registered")


class RegisteredModel(Answer):
    """A model in MLflow's registry."""

    name: str = Field(description="Its name")
    description: str | None = Field(default=None, description="What people wrote about it")
    aliases: dict[str, str] = Field(default_factory=dict, description="Version by alias")
    tags: dict[str, str] = Field(default_factory=dict, description="By name")
    updated_at: datetime | None = Field(default=None, description="When it was changed last")


class RegisteredModels(Answer):
    """One page of models."""

    models: list[RegisteredModel] = Field(description="By name")
    next_page_token: str | None = Field(default=None, description="For `page_token`; none: that was all")


class ModelDetails(RegisteredModel):
    """A registered model with its versions."""

    versions: list[ModelVersion] = Field(description="The newest first, a hundred at most")


class ModelChange(Request):
    """What to change of a model."""

    description: Value = Field(description="What people shall read about it; empty for nothing")


class VersionChange(Request):
    """What to change of a version."""

    description: Value | None = Field(default=None, description="What people shall read about it; empty for nothing")
    semantic_version: SemanticVersion | None = Field(
        default=None, description="Such as 1.4.0; no other version of the model may have it"
    )
    tags: Annotated[dict[Text, Value | None], AfterValidator(own_tags)] = Field(
        default_factory=dict, max_length=100, description="null removes a tag"
    )


class AliasMove(Request):
    """One of both."""

    version: VersionNumber | None = Field(
        default=None, description="The number of the version that the alias shall point at"
    )
    semantic_version: SemanticVersion | None = Field(default=None, description="The same by its semantic version")

    @model_validator(mode="after")
    def _one(self) -> "AliasMove":
        if (self.version is None) == (self.semantic_version is None):
            raise ValueError("send version or semantic_version")
        return self


class Run(Answer):
    """An MLflow run."""

    run_id: str = Field(description="Its id")
    name: str | None = Field(default=None, description="Its name, if it has one")
    status: str = Field(description="MLflow's, such as FINISHED")
    started_at: datetime | None = Field(default=None, description="When it began")
    ended_at: datetime | None = Field(default=None, description="When it ended")
    metrics: dict[str, float] = Field(description="The newest value of each")
    parameters: dict[str, str] = Field(description="By name")
    tags: dict[str, str] = Field(description="Without MLflow's own")
    parent_run_id: str | None = Field(default=None, description="Of a candidate: the run of its search")


class Runs(Answer):
    """One page of runs."""

    runs: list[Run] = Field(description="In the order asked for")
    next_page_token: str | None = Field(default=None, description="For `page_token`; none: that was all")


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
