"""Model references as people and the operator write them, parsed. Pure."""

import re
from dataclasses import dataclass

from fairlead_service.failures import not_found

FORMS = "runs:/RUN_ID/PATH, runs:/RUN_ID, models:/m-ID, models:/NAME/VERSION or models:/NAME@ALIAS"

_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True)
class RunModel:
    run_id: str
    path: str | None
    """The logged model's name or artifact path; None means the run's only model, else the one named `model`."""


@dataclass(frozen=True)
class LoggedModel:
    model_id: str


@dataclass(frozen=True)
class ModelVersion:
    name: str
    version: str


@dataclass(frozen=True)
class ModelAlias:
    name: str
    alias: str


Reference = RunModel | LoggedModel | ModelVersion | ModelAlias


def written(reference: Reference) -> str:
    """The reference as a URI, the same for all that mean the same."""
    match reference:
        case RunModel(run_id, path):
            return f"runs:/{run_id}" if path is None else f"runs:/{run_id}/{path}"
        case LoggedModel(model_id):
            return f"models:/{model_id}"
        case ModelVersion(name, version):
            return f"models:/{name}/{version}"
        case ModelAlias(name, alias):
            return f"models:/{name}@{alias}"


def parse(uri: str) -> Reference:
    """Raises LoadError(ModelNotFound) for anything but the five forms: such a URI can never name a model.

    Slashes at the end, or more than one between two parts, mean nothing.
    """
    scheme, _, rest = uri.partition(":/")
    rest = "/".join(part for part in rest.split("/") if part)
    if scheme == "runs" and rest:
        run_id, _, path = rest.partition("/")
        if ".." not in path.split("/"):
            return RunModel(run_id, path or None)
    if scheme == "models" and _MODEL_ID.fullmatch(rest):
        return LoggedModel(rest)
    if scheme == "models" and rest:
        name, at, alias = rest.rpartition("@")
        if at and name and alias and "/" not in rest:
            return ModelAlias(name, alias)
        name, slash, version = rest.rpartition("/")
        if slash and name and "/" not in name and version.isdecimal():
            return ModelVersion(name, version)
    raise not_found(f"{uri!r} is not a model reference; write {FORMS}")
