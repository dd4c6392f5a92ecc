"""Whether a line is a log line of Fairlead, by docs/logs.schema.json."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "logs.schema.json"


def problems(line: bytes) -> list[str]:
    """What is wrong with a line, with or without its line break; nothing if nothing is."""
    try:
        found = json.loads(line)
    except ValueError as error:
        return [f"no JSON: {error}: {line[:200]!r}"]
    return [f"{error.json_path}: {error.message}: {line[:500]!r}" for error in _validator().iter_errors(found)]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
