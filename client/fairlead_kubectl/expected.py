"""What an installation of this version has: the operator's rights and the fields of the CRD.

From `expected.json`, which `make sync` makes from manifests/."""

import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from fairlead_kubectl.reading import Json

VERSION = version("fairlead")


@cache
def _expected() -> Json:
    found: Json = json.loads(files("fairlead_kubectl").joinpath("expected.json").read_text())
    return found


def rights() -> list[tuple[str, str, str]]:
    """`(group, resource, verb)` that the operator needs; a subresource is `pods/status`."""
    return [
        (group, resource, verb)
        for rule in _expected()["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def fields() -> frozenset[str]:
    """Dotted paths of spec and status, as `fields_of` gives them."""
    return frozenset(_expected()["fields"])


def fields_of(schema: Json, path: str = "") -> list[str]:
    """Dotted paths of all properties of an OpenAPI schema; items of lists count as their list."""
    found = []
    for name, below in (schema.get("properties") or {}).items():
        inner = f"{path}.{name}" if path else name
        found += [inner, *fields_of(below, inner)]
    if "items" in schema:
        found += fields_of(schema["items"], path)
    return found
