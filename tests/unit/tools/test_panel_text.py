"""What the drawings of dashboards print can be read by people."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import dashboards
from tools.panel_text import clock, legend, number, text


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (1.0, "percentunit", "100 %"),
        (0.0, "percentunit", "0 %"),
        (0.9997, "percentunit", "100 %"),
        (0.12345, "percentunit", "12.3 %"),
        (12.0, "percentunit", "1200 %"),
        (0.0, "s", "0 s"),
        (0.0555, "s", "55.5 ms"),
        (0.00025, "s", "250 µs"),
        (2.5, "s", "2.5 s"),
        (600.0, "s", "600 s"),
        (0.0, "bytes", "0 B"),
        (80e6, "bytes", "76.3 MiB"),
        (3 * 2**30, "bytes", "3 GiB"),
        (60.6, "reqps", "60.6 req/s"),
        (123456.0, "reqps", "123456 req/s"),
        (4.0, "none", "4"),
        (100.0, "short", "100"),
        (0.00001, "none", "0.00001"),
        (math.inf, "s", "∞"),
        (-math.inf, "none", "-∞"),
        (math.nan, "percentunit", "–"),  # noqa: RUF001
    ],
)
def test_values_have_units_and_plain_digits(value: float, unit: str, written: str) -> None:
    assert text(value, unit) == written


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_numbers_have_no_exponent_and_three_right_digits(value: float) -> None:
    written = number(value)
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", written), written
    assert math.isclose(float(written), value, rel_tol=0.005, abs_tol=1e-300)


UNITS = sorted(
    {
        panel["fieldConfig"]["defaults"].get("unit", "none")
        for path in dashboards.FILES
        for panel in dashboards.panels(dashboards.read(path))
        if panel["type"] != "row"
    }
)


@pytest.mark.parametrize("unit", UNITS)
@given(value=st.floats(min_value=0, max_value=1e12))
def test_every_unit_of_the_dashboards_is_written_without_exponent(unit: str, value: float) -> None:
    assert "e" not in text(value, unit).partition(" ")[0]


@pytest.mark.parametrize(
    ("template", "labels", "filled"),
    [
        ("{{version}} {{run_id}}", {"version": "3", "run_id": "abc"}, "3 abc"),
        ("{{version}} {{run_id}}", {"run_id": "abc"}, "abc"),
        ("{{ track }}", {"track": "stable"}, "stable"),
        ("verdict {{outcome}}", {"outcome": "sent"}, "verdict sent"),
        ("{{a}}", {"a": "{{b}}", "b": "c"}, "{{b}}"),
        ("", {"__name__": "up", "pod": "a"}, "a"),
        ("{{version}}", {}, ""),
        ("p95", {}, "p95"),
    ],
)
def test_legends_have_their_labels_filled(template: str, labels: dict[str, str], filled: str) -> None:
    assert legend(template, labels) == filled


def test_a_short_window_has_seconds() -> None:
    assert clock(0, 3600).count(":") == 1
    assert clock(0, 180).count(":") == 2
