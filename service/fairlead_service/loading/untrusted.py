"""Parsers for text that anyone may have written: a model's MLmodel, signature, example and environment files.

Everything here is bounded before it is built, and every exception means the same: the file is damaged, and reading it
again gives the same answer.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from fairlead_service.failures import LoadError, corrupt

MAX_DEPTH: Final = 50
"""Nesting of lists and mappings; MLflow's own files stay below 10."""
MAX_NODES: Final = 2_000_000
_SHOWN_CHARACTERS: Final = 300
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_Loader: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Every scalar is text: 3.10 stays 3.10, and there is no date or number that cannot be made."""


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turns every exception but LoadError and a lack of memory into LoadError(ModelCorrupt) that names `what`."""
    try:
        yield
    except (LoadError, MemoryError):
        raise
    except Exception as error:
        shown = str(error).strip()[:_SHOWN_CHARACTERS].encode("utf-8", "replace").decode()
        raise corrupt(f"{what} does not parse: {type(error).__name__}: {shown}") from error


def yaml_document(text: bytes) -> Any:
    """A YAML document of mappings, lists, strings and None. Raises any exception for what is no such document.

    Aliases are refused: a file of one kilobyte with them unfolds to any size. MLflow writes none.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has an alias (*name), which is not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or number > MAX_NODES:
            raise ValueError("it is nested too deeply" if depth > MAX_DEPTH else "it has too many entries")
    return _plain(yaml.load(text, Loader=_Loader), nulls=True)


def json_document(text: bytes | str) -> Any:
    """A JSON document. Raises any exception for what is no such document."""
    if (text.count(b",") if isinstance(text, bytes) else text.count(",")) > MAX_NODES:
        raise ValueError("it has too many entries")
    return _plain(json.loads(text))


def _plain(value: Any, depth: int = 0, *, nulls: bool = False) -> Any:
    """The document, with words for null as None if `nulls`.

    Raises ValueError for great depth, and for text that UTF-8 does not have: no file, log or answer can hold it.
    """
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        value.encode()
        return None if nulls and value in _NULLS else value
    if isinstance(value, dict):
        for key in value:
            str(key).encode()
        return {str(key): _plain(part, depth + 1, nulls=nulls) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, depth + 1, nulls=nulls) for part in value]
    return value
