"""What a logged model says about itself: its MLmodel file, requirements and input example, parsed. Pure.

Everything here is the model's own claim. It decides which files are read and what people are told, never what is
trusted.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from fairlead_service.failures import corrupt, refused, unsupported

NUMERIC_TYPES: Final = frozenset({"boolean", "integer", "long", "float", "double"})
"""MLflow column types that become one float64 without losing their meaning."""

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*==\s*([^\s;#,]+)")


@dataclass(frozen=True)
class Inputs:
    """The input side of a signature."""

    n_features: int
    names: tuple[str, ...] | None


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
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise corrupt(f"the model's MLmodel file does not parse: {error}") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict):
        raise corrupt("the model's MLmodel file names no flavors")
    flavor = flavors.get("sklearn")
    if not isinstance(flavor, dict):
        found = ", ".join(sorted(map(str, flavors))) or "none"
        raise unsupported(
            f"the model has no scikit-learn flavor (flavors: {found}); log it with mlflow.sklearn.log_model"
        )
    pyfunc = flavors.get("python_function")
    pyfunc = pyfunc if isinstance(pyfunc, dict) else {}
    model_file = flavor.get("pickled_model") or pyfunc.get("model_path") or "model.pkl"
    example = document.get("saved_input_example_info")
    return ModelDescription(
        model_file=file_name(model_file),
        serialization=str(flavor.get("serialization_format") or "pickle"),
        versions=_versions(flavor, pyfunc),
        signature=_signature(document.get("signature")),
        example_file=file_name(example["artifact_path"])
        if isinstance(example, dict) and "artifact_path" in example
        else None,
    )


def file_name(name: object) -> str:
    """A plain file name in the model's own directory; LoadError(ModelRefused) for anything that leads elsewhere."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name or PurePosixPath(name).name != name:
        raise refused(f"the model names a file {name!r} outside its own directory")
    if name in (".", ".."):
        raise refused(f"the model names a file {name!r} outside its own directory")
    return name


def requirements(text: str) -> dict[str, str]:
    """Pinned distributions of a requirements.txt, normalised name → version; other lines say nothing exact."""
    pinned = (match for line in text.splitlines() if (match := _REQUIREMENT.match(line)))
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in pinned}


def environment(text: bytes) -> dict[str, str]:
    """What conda.yaml or python_env.yaml pins, normalised name → version: Python, Conda's packages and pip's.

    They only fill gaps, so what does not parse says nothing.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    entries = _list(document.get("dependencies"))
    pip = [line for entry in entries if isinstance(entry, dict) for line in _list(entry.get("pip"))]
    conda = [re.sub(r"^([\w.-]+)=(?=\d)", r"\1==", entry) for entry in entries if isinstance(entry, str)]
    found = requirements("\n".join(map(str, [*conda, *pip])))
    # Conda pins builds, too: python=3.11.7=h123
    found = {name: version.partition("=")[0] for name, version in found.items()}
    python = document.get("python")
    return found | ({"python": str(python)} if python is not None else {})


def inputs(signature: Mapping[str, Any] | None) -> Inputs | None:
    """The matrix that a signature asks for; None without a signature or with an open width.

    Raises LoadError(ModelUnsupported) if it asks for something other than a numeric matrix.
    """
    columns = (signature or {}).get("inputs")
    if not isinstance(columns, list) or not columns or not all(isinstance(column, dict) for column in columns):
        return None
    if columns[0].get("type") == "tensor":
        return _tensor(columns)
    for position, column in enumerate(columns):
        if column.get("type") not in NUMERIC_TYPES:
            name = column.get("name", position)
            raise unsupported(
                f"input column {name!r} is of type {column.get('type')}; Fairlead serves numeric matrices only: "
                "encode such columns before the model"
            )
    names = tuple(str(column["name"]) for column in columns if column.get("name") is not None)
    return Inputs(len(columns), names if len(names) == len(columns) else None)


def example_rows(text: bytes) -> tuple[tuple[float, ...], ...] | None:
    """The input example as rows of one width, without rows that hold missing values; None if none is left.

    Raises LoadError: ModelCorrupt if the file does not parse, ModelUnsupported if it is no numeric matrix.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise corrupt(f"the model's input example does not parse: {error}") from error
    rows = document
    if isinstance(document, dict):
        rows = next((document[key] for key in ("data", "inputs", "instances") if key in document), None)
    if not isinstance(rows, list) or not rows:
        return None
    if not isinstance(rows[0], list):
        rows = [rows]
    matrix = [_numbers(row) for row in rows]
    if len({len(row) for row in matrix}) != 1:
        raise corrupt("the rows of the model's input example differ in length")
    finite = tuple(row for row in matrix if row and all(map(math.isfinite, row)))
    return finite or None


def _numbers(row: object) -> tuple[float, ...]:
    if not isinstance(row, list):
        raise unsupported("the model's input example is not a matrix; Fairlead serves numeric matrices only")
    cells = (math.nan if cell is None else cell for cell in row)
    try:
        return tuple(_number(cell) for cell in cells)
    except OverflowError:
        return (math.inf,) * len(row)


def _number(cell: object) -> float:
    if isinstance(cell, int | float):
        return float(cell)
    raise unsupported(
        f"the model's input example holds {str(cell)[:80]!r}; Fairlead serves numeric matrices only: "
        "encode such columns before the model"
    )


def _tensor(columns: list[dict[str, Any]]) -> Inputs | None:
    spec = columns[0].get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    if len(columns) != 1 or not isinstance(shape, list) or len(shape) != 2:
        raise unsupported(f"the model's input is not one matrix (shape {shape}); Fairlead serves numeric matrices only")
    dtype = str(spec.get("dtype"))  # type: ignore[union-attr]
    if not dtype.startswith(("float", "int", "uint", "bool")):
        raise unsupported(f"the model's input has dtype {dtype}; Fairlead serves numeric matrices only")
    return Inputs(shape[1], None) if isinstance(shape[1], int) and shape[1] > 0 else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _versions(flavor: Mapping[str, Any], pyfunc: Mapping[str, Any]) -> dict[str, str]:
    found = {"scikit-learn": flavor.get("sklearn_version"), "python": pyfunc.get("python_version")}
    return {name: str(version) for name, version in found.items() if version}


def _signature(raw: object) -> dict[str, Any] | None:
    """MLmodel keeps each side of the signature as a JSON string."""
    if not isinstance(raw, dict):
        return None
    try:
        return {side: json.loads(text) if isinstance(text, str) else text for side, text in raw.items()}
    except ValueError as error:
        raise corrupt(f"the model's signature does not parse: {error}") from error
