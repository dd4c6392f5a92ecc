"""References name everything there is, lead where they point, and say values as they are written."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.form import to_json_name
from fairlead_operator.spec import Spec
from fairlead_service.app import create_app
from fairlead_service.settings import Settings
from tools.reference import crd, http, schema

CRD: dict[str, Any] = yaml.safe_load(Path("manifests/crd.yaml").read_text())
DOCUMENT = create_app(Settings.model_construct()).openapi()
API = http.page(DOCUMENT, lambda method, path: f"{method} {path}")
RESOURCE = crd.page(CRD)


def test_every_field_of_the_spec_has_a_row() -> None:
    for name in Spec.model_fields:
        assert f"| `{to_json_name(name)}` |" in RESOURCE
    for nested in ("auth.oidc.roles", "env[].valueFrom.secretKeyRef.name", "candidate.checks[].ok"):
        assert f"| `{nested}` |" in RESOURCE


def test_every_path_has_its_role_and_its_problems() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method in methods:
            assert f"### `{method.upper()} {path}`" in API
            assert f"Role: {method.upper()} {path}." in API
    assert "`no-model`" in API


def test_links_lead_somewhere() -> None:
    headings = {line.removeprefix("### ").lower() for line in API.splitlines() if line.startswith("### ")}
    anchors = set(re.findall(r"\]\(#([^)]+)\)", API))
    assert anchors
    assert anchors <= headings


@pytest.mark.parametrize("page", [API, RESOURCE])
def test_tables_are_tables(page: str) -> None:
    columns = 0
    for line in page.splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert columns in (0, bars) or not bars, line
        columns = bars


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ({"type": "integer", "default": 1}, ("integer", [], "`1`")),
        ({"type": "boolean", "default": False}, ("boolean", [], "`false`")),
        (
            {"type": "string", "minLength": 1, "maxLength": 2000},
            ("string", ["not empty", "at most 2 000 characters"], None),
        ),
        ({"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}]}, ("integer or null", ["at least 2"], None)),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, ("list of `a` or `b`", [], None)),
        ({"$ref": "#/components/schemas/TrainRequest"}, ("[TrainRequest](#trainrequest)", [], None)),
        (
            {"x-kubernetes-validations": [{"rule": "r", "message": "must be"}], "pattern": "x"},
            ("anything", ["must be"], None),
        ),
    ],
)
def test_words_of_a_schema(of: dict[str, Any], words: tuple[str, list[str], str | None]) -> None:
    assert (schema.kind(of), schema.limits(of), schema.default(of)) == words


@given(st.text())
def test_a_cell_is_one_cell(text: str) -> None:
    said = schema.cell(text)
    assert "\n" not in said
    assert "|" not in said.replace("\\|", "")
