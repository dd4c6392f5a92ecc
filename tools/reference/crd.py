"""`docs/reference/modeldeployment.md`, from the CustomResourceDefinition. Pure."""

from collections.abc import Iterator
from typing import Any

from tools.reference.schema import Schema, cell, default, kind, limits, sentence

_HEAD = """# ModelDeployment

Made from [manifests/crd.yaml](../../manifests/crd.yaml) by `make sync`; `kubectl explain modeldeployment.spec` says
the same. [manifests/samples/full.yaml](../../manifests/samples/full.yaml) has every field with the reason to set it.

"""


def page(crd: dict[str, Any]) -> str:
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{name}`" for name in names.get("shortNames", ()))
    group = f"{crd['spec']['group']}/{version['name']}"
    parts = [_HEAD, f"`apiVersion: {group}`, `kind: {names['kind']}`; for `kubectl` also {short}.\n"]
    for part, what in (("spec", "What is wanted."), ("status", "What the operator says; nobody else writes it.")):
        fields = schema["properties"][part]
        parts += [f"\n## {part}\n\n{what}\n", *_rules(fields), "\n", *_table(fields)]
    columns = version.get("additionalPrinterColumns", ())
    parts += ["\n## Columns of `kubectl get`\n\n| column | from | shown |\n|---|---|---|\n"]
    for column in columns:
        shown = "with `-o wide`" if column.get("priority") else "always"
        parts.append(f"| {column['name']} | `{cell(column['jsonPath'])}` | {shown} |\n")
    return "".join(parts)


def _rules(schema: Schema) -> Iterator[str]:
    rules = [str(rule["message"]) for rule in schema.get("x-kubernetes-validations", ())]
    if rules:
        yield f"\nAs a whole: {sentence(rules)}\n"


def _table(schema: Schema) -> Iterator[str]:
    yield "| field | type | what it is |\n|---|---|---|\n"
    for name, field in _fields(schema):
        says = sentence([field.get("description", ""), *limits(field)])
        if value := default(field):
            says += f" Default: {value}."
        yield f"| `{name}` | {cell(kind(field))} | {cell(says.strip())} |\n"


def _fields(schema: Schema, before: str = "") -> Iterator[tuple[str, Schema]]:
    """All that have a name, with those of lists and maps below theirs."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        path = f"{before}{name}"
        needed = {"description": sentence([field.get("description", ""), "required"])} if name in required else {}
        yield path, field | needed
        yield from _fields(field, f"{path}.")
        items = field.get("items")
        if isinstance(items, dict) and items.get("properties"):
            yield from _fields(items, f"{path}[].")
