"""`docs/reference/http.md`, from the OpenAPI document of the server. Pure."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from tools.reference.schema import Schema, cell, default, kind, limits, sentence

Needed = Callable[[str, str], str]
"""Method and path to the role that they need."""

_HEAD: Final = """# HTTP API

Generated from the server's own OpenAPI document by `make sync`; `/docs` of a running server shows the same, to try.
A predictor has the paths of models and predictions only. Roles are asked for where [access](../access.md) is on. Errors
are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details; their types are listed with each path.
"""
_PROBLEM: Final = "application/problem+json"


def page(document: dict[str, Any], needed: Needed) -> str:
    operations = [
        (operation["tags"][0] if operation.get("tags") else "other", method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [_HEAD]
    for tag in dict.fromkeys(tag for tag, *_ in operations):
        parts.append(f"\n## {tag.capitalize()}\n")
        for of, method, path, operation in operations:
            if of == tag:
                parts += _operation(method, path, operation, needed(method, path))
    parts.append("\n## Schemas\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _schema(name, schema)
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any], role: str) -> Iterator[str]:
    yield f"\n### `{method} {path}`\n\n{operation['summary']}. Role: {role}.\n"
    if description := operation.get("description"):
        yield f"\n{description.strip()}\n"
    parameters = operation.get("parameters", ())
    if parameters:
        yield "\n| parameter | in | type | what it is |\n|---|---|---|---|\n"
    for parameter in parameters:
        schema = parameter["schema"]
        says = [parameter.get("description", ""), *limits(schema), "required" if parameter.get("required") else ""]
        if value := default(schema):
            says.append(f"default {value}")
        yield f"| `{parameter['name']}` | {parameter['in']} | {cell(kind(schema))} | {cell(sentence(says))} |\n"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nBody: `{media}`, {kind(content.get('schema', {}))}.\n"
    yield "\n| status | answer |\n|---|---|\n"
    for status, answer in sorted(operation["responses"].items()):
        yield f"| {status} | {cell(_answer(answer))} |\n"


def _answer(answer: dict[str, Any]) -> str:
    description = str(answer.get("description", ""))
    contents = answer.get("content", {})
    problems = contents.get(_PROBLEM, {}).get("examples", {})
    if problems:
        return f"{description}: " + ", ".join(f"`{name}`" for name in problems)
    schemas = [found.get("schema") for media, found in contents.items() if media != _PROBLEM]
    kinds = [kind(schema) for schema in schemas if schema]
    said = [] if description == "Successful Response" else [description]
    return ": ".join([*said, " or ".join(kinds)] if kinds else said) or "no body"


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"\n### {name}\n"
    if description := schema.get("description"):
        yield f"\n{description.strip()}\n"
    properties = schema.get("properties")
    if not properties:
        yield f"\n{kind(schema)}\n"
        return
    required = set(schema.get("required", ()))
    yield "\n| field | type | what it is |\n|---|---|---|\n"
    for field, of in properties.items():
        says = sentence([of.get("description", ""), *limits(of), "required" if field in required else ""])
        if value := default(of):
            says += f" Default: {value}."
        yield f"| `{field}` | {cell(kind(of))} | {cell(says.strip())} |\n"
