"""Bytes of a `/train` body → a checked request. Pure.

Everything that can be said without scikit-learn is said here, before a process is started; what only the algorithm
knows (its hyperparameters, whether it takes this target) the child says.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from fairlead_service import patterns
from fairlead_service.errors import FieldError, InvalidInput, MalformedBody, UnknownAlgorithm
from fairlead_service.inference import codec
from fairlead_service.inference.codec import Expected
from fairlead_service.models.backends import Matrix
from fairlead_service.schemas_train import TrainOptions

_KINDS: Final = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
_MAX_LABEL_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class TrainInput:
    """A matrix with its target, or neither: then the data are a table that is yet to be read."""

    options: TrainOptions
    matrix: Matrix | None = None
    target: list[Any] | None = None

    def to_json(self, **more: Any) -> bytes:
        """`request.json` as the training process reads it, without the matrix."""
        fields = self.options.model_dump(exclude={"load"}, exclude_none=True)
        target = {} if self.target is None else {"target": self.target}
        return orjson.dumps({**fields, **target, **more})


def decode_train(body: bytes, max_rows: int, algorithms: Collection[str]) -> TrainInput:
    """A whole request. Raises MalformedBody, InvalidInput, TooManyRows or UnknownAlgorithm."""
    expected = Expected(field="data", max_rows=max_rows)
    document = _document(body, expected)
    if "data_uri" in document:
        options = _options(document, algorithms, "data_uri names the data")
        if options.target_column is None:
            raise _invalid("/target_column", "target_column is missing: which column of the table is the target?")
        return TrainInput(options)
    for field in ("data", "target", "algorithm"):
        if field not in document:
            raise _invalid(
                f"/{field}",
                f"{field} is missing; data, target and algorithm are required, or data_uri in place of data",
            )
    data, target = document.pop("data"), document.pop("target")
    options = _options(document, algorithms)
    if options.target_column is not None:
        raise _invalid("/target_column", "target_column is for a table; the target of data is in target")
    matrix = codec.matrix(data, expected)
    _check_target(target, len(matrix))
    _check_names(options, matrix.shape[1])
    return TrainInput(options, matrix, target)


def decode_options(body: bytes, algorithms: Collection[str]) -> TrainInput:
    """The request beside a table that was uploaded. Raises MalformedBody, InvalidInput or UnknownAlgorithm."""
    document = _document(body, Expected(field="data", max_rows=0))
    if "data_uri" in document:
        raise _invalid("/data_uri", "the data are in the file that was sent; leave out data_uri")
    options = _options(document, algorithms, "the data are in the file that was sent")
    if options.target_column is None:
        raise _invalid("/target_column", "target_column is missing: which column of the file is the target?")
    return TrainInput(options)


def invalid_from(error: ValidationError) -> InvalidInput:
    """What pydantic found, as problem details."""
    return from_pydantic([(tuple(item["loc"]), patterns.message(item)) for item in error.errors(include_url=False)])


def from_pydantic(found: list[tuple[tuple[int | str, ...], str]]) -> InvalidInput:
    errors = []
    for location, message in found:
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
        where = ".".join(str(part) for part in location) or "the request"
        errors.append(FieldError(pointer=pointer, detail=f"{where}: {message[:1].lower()}{message[1:]}"))
    return InvalidInput("; ".join(error.detail for error in errors[:5]), errors)


def _document(body: bytes, expected: Expected) -> dict[str, Any]:
    document = codec.parse_object(body, expected)
    if _has_duplicate_keys(body, document):
        raise MalformedBody("a key appears twice in one object of the body; send each once")
    return document


def _options(document: dict[str, Any], algorithms: Collection[str], where: str | None = None) -> TrainOptions:
    """`where` the data are, if not in the document."""
    for field in ("data", "target"):
        if where is not None and field in document:
            raise _invalid(f"/{field}", f"{where}; leave out {field}")
    unknown = sorted(document.keys() - TrainOptions.model_fields.keys())
    if unknown:
        known = ", ".join(["data", "target", *TrainOptions.model_fields])
        raise _invalid(f"/{unknown[0]}", f"unknown field {unknown[0]!r}; known are {known}")
    try:
        options = TrainOptions.model_validate(document)
    except ValidationError as error:
        raise invalid_from(error) from None
    if options.algorithm not in algorithms:
        known = ", ".join(sorted(algorithms))
        detail = f"algorithm {options.algorithm!r} is not known; known are {known}"
        raise UnknownAlgorithm(detail, [FieldError(pointer="/algorithm", detail=detail)])
    for field in ("alias", "semantic_version", "description"):
        if getattr(options, field) is not None and options.model_name is None:
            raise _invalid(f"/{field}", f"{field} needs model_name: it belongs to a version of a registered model")
    return options


def _check_target(target: object, rows: int) -> None:
    if not isinstance(target, list):
        raise _invalid("/target", "target is not a list; send one label per row of data")
    if len(target) != rows:
        raise _invalid("/target", f"target has {len(target)} values and data has {rows} rows; send one label per row")
    if not set(map(type, target)) <= _KINDS.keys():
        index = next(i for i, label in enumerate(target) if type(label) not in _KINDS)
        raise _invalid(f"/target/{index}", f"target[{index}] is no label; send an integer, a string or a boolean")
    kinds = set(map(_kind, target))
    if len(kinds) > 1:
        first = type(target[0])
        index = next(i for i, label in enumerate(target) if _kind(label) != _kind(target[0]))
        raise _invalid(
            f"/target/{index}",
            f"target[{index}] is {_KINDS[type(target[index])]} and target[0] is {_KINDS[first]}; "
            "send labels of one type",
        )
    if len(set(target)) == 1:
        raise _invalid("/target", f"target has one class only, {str(target[0])[:100]!r}; send rows of at least two")
    if str in kinds and max(map(len, target)) > _MAX_LABEL_CHARACTERS:
        raise _invalid("/target", f"target has a label of more than {_MAX_LABEL_CHARACTERS} characters")


def _kind(label: object) -> type:
    return type(label) if isinstance(label, bool | str) else float


def _check_names(options: TrainOptions, columns: int) -> None:
    names = options.feature_names
    if names is None:
        return
    if len(names) != columns:
        raise _invalid(
            "/feature_names", f"feature_names has {len(names)} names and data has {columns} columns; send one each"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _invalid("/feature_names", f"feature_names has {twice[0]!r} more than once; names must differ")


def _has_duplicate_keys(body: bytes, document: dict[str, Any]) -> bool:
    """Parsers drop the first of two equal keys, and with it the quotes that were around it in the body.

    The matrix is not searched: a string in it is an error anyway. With escapes, quotes can't be counted so simply.
    """
    strings = len(document) + sum(_strings(value) for key, value in document.items() if key != "data")
    return body.count(b'"') != 2 * strings and codec.has_duplicate_keys(body)


def _strings(value: object) -> int:
    """Strings in a JSON value, keys included."""
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            count += 1
        elif isinstance(item, dict):
            count += len(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, [FieldError(pointer=pointer, detail=detail)])
