"""A JSON Schema in words: type, limits and default of one value. Pure."""

import json
import re
from typing import Any, Final

Schema = dict[str, Any]

_LIMITS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
}
_WORD: Final = re.compile(r"[a-z]+([ .,;]|$)")
"""What begins a sentence, and is no name of something."""
_PATTERN_SHOWN: Final = 60
"""Longer ones say nothing to people; the text beside them does."""


def kind(schema: Schema) -> str:
    """Its type, a name where it is one of the document's own schemas: `list of integer`, `[Search](#search)`."""
    if reference := schema.get("$ref"):
        name = str(reference).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return " or ".join(_code(value) for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            kinds = dict.fromkeys(kind(one) for one in schema[choice])
            return " or ".join(kinds)
    if len(schema.get("allOf", ())) == 1:
        return kind(schema["allOf"][0])
    match schema.get("type"):
        case "array":
            items = schema.get("items")
            return f"list of {kind(items)}" if items else "list"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"map to {kind(schema['additionalProperties'])}"
        case None:
            return "anything"
        case found:
            return str(found)


def limits(schema: Schema) -> list[str]:
    """What bounds it, in words; rules with a message say that."""
    alternatives = [one for choice in ("anyOf", "oneOf") for one in schema.get(choice, ()) if one.get("type") != "null"]
    found = limits(alternatives[0]) if len(alternatives) == 1 else []
    for name, text in _LIMITS.items():
        if name in schema:
            empty = name.startswith("min") and name != "minimum" and schema[name] == 1
            found.append("not empty" if empty else text.format(_number(schema[name])))
    rules = [str(rule["message"]) for rule in schema.get("x-kubernetes-validations", ()) if "message" in rule]
    pattern = schema.get("pattern")
    if pattern and not rules and len(pattern) <= _PATTERN_SHOWN:
        found.append(f"matches `{pattern}`")
    if schema.get("format") in ("date-time", "uuid", "uri"):
        found.append(str(schema["format"]))
    return found + rules


def default(schema: Schema) -> str | None:
    return _code(schema["default"]) if schema.get("default") is not None else None


def cell(text: str) -> str:
    """In a table."""
    return " ".join(text.split()).replace("|", "\\|")


def sentence(parts: list[str]) -> str:
    """Parts that are there, each a sentence."""
    begun = (part[0].upper() + part[1:] if _WORD.match(part) else part for part in parts if part)
    return " ".join(part.rstrip(".") + "." for part in begun)


def _code(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _number(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
