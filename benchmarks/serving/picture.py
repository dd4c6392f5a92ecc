"""The one picture: how many times our rate is each peer's, as bars on a logarithmic scale.

Drawn by hand, in colours that can be read on light and on dark paper, because a README is shown on both.
"""

import math
from collections.abc import Mapping
from html import escape
from typing import Final

_WIDTH: Final = 760
_LEFT: Final = 270
_RIGHT: Final = 60
_TOP: Final = 44
_ROW: Final = 24
_TEXT: Final = "#7d8590"
_LINE: Final = "#7d859055"
_BAR: Final = "#3b82f6"


def draw(title: str, ratios: Mapping[str, float]) -> str:
    """An SVG with one bar a peer, the least first. Ratios are over 0."""
    ordered = sorted(ratios.items(), key=lambda item: item[1])
    low = math.floor(math.log10(min(1, *ratios.values())))
    high = max(low + 1, math.ceil(math.log10(max(ratios.values()))))
    bottom = _TOP + _ROW * len(ordered)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log10(value) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 30}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="20" font-weight="600">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(f'<path d="M{at:.1f} {_TOP - 8}V{bottom + 4}" stroke="{_LINE}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{10**power:g}x</text>')
    for number, (name, value) in enumerate(ordered):
        y, start, end = _TOP + _ROW * number, min(x(1), x(value)), max(x(1), x(value))
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{start:.1f}" y="{y}" width="{end - start:.1f}" height="{_ROW - 7}" rx="2" fill="{_BAR}"/>',
            f'<text x="{end + 6:.1f}" y="{y + 13}">{shown(value)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def shown(value: float) -> str:
    """A ratio with as many digits as it deserves."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"
