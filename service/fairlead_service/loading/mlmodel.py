"""What a logged model says about itself: its MLmodel file and its requirements, parsed. Pure.

Everything here is the model's own claim. It decides which files are read and what people are told, never what is
trusted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from fairlead_service.failures import LoadError, corrupt, refused, unsupported
from fairlead_service.loading.untrusted import json_document, parsing, yaml_document
from fairlead_service.models.bundle import MOST_COLUMNS

NUMERIC_TYPES: Final = frozenset({"boolean", "integer", "long", "float", "double"})
"""MLflow column types that become one float64 without losing their meaning."""

_MAX_LINE: Final = 500
"""Characters of a requirement that pins a version; a longer one says nothing."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;#,]+)")
_MAX_VERSION: Final = 100


@dataclass(frozen=True)
class Inputs:
    """The input side of a signature."""

    n_features: int
    names: tuple[str, ...] | None
    """None if a column has no name, or two have the same one: then they say nothing but their order."""
    odd: Mapping[int, str] = field(default_factory=dict)
    """Positions of the columns that are no numbers, with their types."""


@dataclass(frozen=True)
class ModelDescription:
    model_file: str
    serialization: str
    """`skops`, `pickle` or `cloudpickle`."""
    versions: Mapping[str, str]
    """What MLmodel itself says: `scikit-learn` and `python`."""
    signature: Mapping[str, Any] | None
    example_file: str | None


def describe(text: bytes) -> ModelDescription:
    """Reads an MLmodel file.

    Raises LoadError: ModelCorrupt if it does not parse, ModelUnsupported if there is no scikit-learn flavor in it,
    ModelRefused if it names files outside its own directory.
    """
    with parsing("the model's MLmodel file"):
        document = yaml_document(text)
        flavors = document.get("flavors") if isinstance(document, dict) else None
        if not isinstance(flavors, dict):
            raise corrupt("the model's MLmodel file names no flavors")
        flavor = flavors.get("sklearn")
        if not isinstance(flavor, dict):
            found = ", ".join(sorted(flavors))[:200] or "none"
            raise unsupported(
                f"the model has no scikit-learn flavor (flavors: {found}), and Fairlead serves scikit-learn's "
                "estimators only; train one of those and log it with mlflow.sklearn.log_model"
            )
        pyfunc = flavors.get("python_function")
        pyfunc = pyfunc if isinstance(pyfunc, dict) else {}
        example = document.get("saved_input_example_info")
        named = isinstance(example, dict) and "artifact_path" in example
        return ModelDescription(
            model_file=file_name(flavor.get("pickled_model") or pyfunc.get("model_path") or "model.pkl"),
            serialization=str(flavor.get("serialization_format") or "pickle")[:_MAX_VERSION],
            versions=_versions(flavor, pyfunc),
            signature=_signature(document.get("signature")),
            example_file=file_name(example["artifact_path"]) if named else None,
        )


def file_name(name: object) -> str:
    """A plain file name in the model's own directory; LoadError(ModelRefused) for anything that leads elsewhere."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name or PurePosixPath(name).name != name:
        raise _elsewhere(name)
    if name in (".", ".."):
        raise _elsewhere(name)
    return name


def requirements(text: str) -> dict[str, str]:
    """Pinned distributions of a requirements.txt, normalised name → version; other lines say nothing exact."""
    found = {}
    for line in text.splitlines():
        if len(line) > _MAX_LINE:
            continue
        match = _REQUIREMENT.match("".join(line.partition(";")[0].split()))
        if match and len(match[2]) <= _MAX_VERSION:
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def environment(text: bytes) -> dict[str, str]:
    """What conda.yaml or python_env.yaml pins, normalised name → version: Python, Conda's packages and pip's.

    They only fill gaps, so what does not parse says nothing.
    """
    try:
        with parsing("the environment file"):
            document = yaml_document(text)
    except LoadError:
        return {}
    if not isinstance(document, dict):
        return {}
    entries = _list(document.get("dependencies"))
    pip = [line for entry in entries if isinstance(entry, dict) for line in _list(entry.get("pip"))]
    conda = [_conda(entry) for entry in entries if isinstance(entry, str)]
    found = requirements("\n".join(map(str, [*conda, *pip])))
    # Conda pins builds, too: python=3.11.7=h123
    found = {name: version.partition("=")[0] for name, version in found.items()}
    python = document.get("python")
    return found | ({"python": python} if isinstance(python, str) and len(python) <= _MAX_VERSION else {})


def inputs(signature: Mapping[str, Any] | None) -> Inputs | None:
    """The matrix that a signature asks for; None without a signature or with an open width.

    Raises LoadError: ModelUnsupported if it asks for something other than a matrix, ModelCorrupt.
    """
    columns = (signature or {}).get("inputs")
    if not isinstance(columns, list) or not columns or not all(isinstance(column, dict) for column in columns):
        return None
    with parsing("the model's signature"):
        if len(columns) > MOST_COLUMNS:
            raise too_wide(len(columns))
        if columns[0].get("type") == "tensor":
            return _tensor(columns)
        names = tuple(str(column["name"]) for column in columns if column.get("name") is not None)
        types = [str(column.get("type"))[:_MAX_VERSION] for column in columns]
        odd = {position: kind for position, kind in enumerate(types) if kind not in NUMERIC_TYPES}
        named = len(names) == len(columns) == len(set(names))
        return Inputs(len(columns), names if named else None, odd)


def too_wide(columns: object) -> LoadError:
    return unsupported(f"the model has {str(columns)[:40]} columns; Fairlead serves at most {MOST_COLUMNS}")


def _tensor(columns: list[dict[str, Any]]) -> Inputs | None:
    spec = columns[0].get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    if len(columns) != 1 or not isinstance(shape, list) or len(shape) != 2:
        shown = str(shape)[:100]
        raise unsupported(f"the model's input is not one matrix (shape {shown}); Fairlead serves numeric matrices only")
    dtype = str(columns[0]["tensor-spec"].get("dtype"))
    if not dtype.startswith(("float", "int", "uint", "bool")):
        raise unsupported(f"the model's input has dtype {dtype[:40]}; Fairlead serves numeric matrices only")
    width = shape[1]
    if not isinstance(width, int) or width <= 0:
        return None
    if width > MOST_COLUMNS:
        raise too_wide(width)
    return Inputs(width, None)


def _conda(entry: str) -> str:
    """`numpy=2.4.6` as pip writes it."""
    name, equals, version = entry.partition("=")
    return f"{name}=={version}" if equals and version[:1].isdigit() else entry


def _elsewhere(name: object) -> LoadError:
    return refused(f"the model names a file {str(name)[:200]!r} outside its own directory")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _versions(flavor: Mapping[str, Any], pyfunc: Mapping[str, Any]) -> dict[str, str]:
    found = {"scikit-learn": flavor.get("sklearn_version"), "python": pyfunc.get("python_version")}
    return {name: text for name, text in found.items() if isinstance(text, str) and len(text) <= _MAX_VERSION}


def _signature(raw: object) -> dict[str, Any] | None:
    """MLmodel keeps each side of the signature as a JSON string; anything else is not a signature of MLflow's."""
    if not isinstance(raw, dict):
        return None
    with parsing("the model's signature"):
        for side, text in raw.items():
            if not isinstance(text, str | None):
                raise corrupt(f"the model's signature has {side[:40]} as YAML where MLflow writes a JSON string")
        return {side: None if text is None else json_document(text) for side, text in raw.items()}
