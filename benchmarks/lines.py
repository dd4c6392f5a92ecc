"""Lines over named places, panel beside panel, as an SVG that can be read on light and on dark paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 300
_HEIGHT: Final = 190
_LEFT: Final = 40
_TOP: Final = 70
_TEXT: Final = "#7d8590"
_GRID: Final = "#7d859055"
_COLOURS: Final = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444")


@dataclass(frozen=True)
class Line:
    name: str
    values: Sequence[float]
    """Per cent, one a place."""


@dataclass(frozen=True)
class Panel:
    title: str
    axis: str
    places: Sequence[str]
    lines: Sequence[Line]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """All panels have the same lines."""
    width = _LEFT + len(panels) * (_WIDTH + _LEFT)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 60}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{_TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="20" font-size="13" font-weight="600">{escape(title)}</text>',
    ]
    for number, line in enumerate(panels[0].lines):
        x = 8 + number * 150
        parts.append(f'<path d="M{x} 36h20" stroke="{_COLOURS[number]}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 26}" y="40">{escape(line.name)}</text>')
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + number * (_WIDTH + _LEFT))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: float) -> list[str]:
    bottom = _TOP + _HEIGHT
    step = _WIDTH / (len(panel.places) - 1)
    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="600">{escape(panel.title)}</text>']
    for percent in (0, 25, 50, 75, 100):
        y = bottom - _HEIGHT * percent / 100
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for number, place in enumerate(panel.places):
        parts.append(
            f'<text x="{left + number * step:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(place)}</text>'
        )
    for number, line in enumerate(panel.lines):
        points = " ".join(
            f"{left + place * step:.1f},{bottom - _HEIGHT * value / 100:.1f}" for place, value in enumerate(line.values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[number]}" stroke-width="2"/>')
    words = panel.axis.split(", ", 1)
    for number, text in enumerate(words):
        y = bottom + 32 + 13 * number
        parts.append(f'<text x="{left + _WIDTH / 2}" y="{y}" text-anchor="middle">{escape(text)}</text>')
    return parts
