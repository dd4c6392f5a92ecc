"""Values and legends as Grafana writes them, nearly: what `tools.pictures` prints into its drawings."""

import math
import re
import time
from collections.abc import Mapping

BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
SUFFIXES = {"reqps": " req/s", "ops": " ops/s"}
SHORT_WINDOW_SECONDS = 600


def number(value: float) -> str:
    """In plain digits, never with an exponent: three significant ones, and all of those before the point."""
    if math.isnan(value):
        return "–"  # noqa: RUF001 (a dash, as tables have where there is nothing)
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    written = f"{value:.{decimals}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def text(value: float, unit: str) -> str:
    """A value with its unit, by Grafana's name of that."""
    if not math.isfinite(value):
        return number(value)
    if unit == "percentunit":
        return f"{number(100 * value)} %"
    size = abs(value)
    if unit == "s":
        scale, name = (1, "s") if size >= 1 or size == 0 else (1e3, "ms") if size >= 1e-3 else (1e6, "µs")
        return f"{number(value * scale)} {name}"
    if unit == "bytes":
        power = min(int(math.log2(size) // 10), len(BYTES) - 1) if size >= 1 else 0
        return f"{number(value / 2 ** (10 * power))} {BYTES[power]}"
    return number(value) + SUFFIXES.get(unit, "")


def legend(template: str, labels: Mapping[str, str]) -> str:
    """A legend with its labels filled in. Prometheus has no empty labels, so what is missing is empty. A legend without
    any words of its own has the values of all labels."""
    filled = re.sub(r"{{ *(\w+) *}}", lambda found: labels.get(found[1], ""), template)
    return " ".join(filled.split()) or ", ".join(value for name, value in labels.items() if name != "__name__")


def clock(at: float, window_seconds: float) -> str:
    """Time of day, with seconds where minutes would repeat."""
    return time.strftime("%H:%M:%S" if window_seconds < SHORT_WINDOW_SECONDS else "%H:%M", time.localtime(at))
