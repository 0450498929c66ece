"""Predicted against measured energies as an SVG, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

Point = tuple[float, float]  # measured, predicted, both in joules

_SIZE, _MARGIN = 460, 56
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def scatter(series: Mapping[str, Sequence[Point]], title: str) -> str:
    """Both axes logarithmic, with the line of equality; one colour for each series."""
    values = [value for points in series.values() for point in points for value in point]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    scale = _Scale(low, max(high, low + 1))
    marks = [mark for i, points in enumerate(series.values()) for mark in _dots(points, i, scale)]
    body = [*_frame(scale, title), *marks, *_legend(list(series))]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" '
        'font-family="sans-serif" font-size="11">'
    )
    background = f'<rect width="{_SIZE}" height="{_SIZE}" fill="white"/>'
    return "\n".join([head, background, *body, "</svg>"]) + "\n"


class _Scale:
    """Joules to places on the paper."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self._step = (_SIZE - 2 * _MARGIN) / (high - low)

    def x(self, joules: float) -> float:
        return _MARGIN + (math.log10(joules) - self.low) * self._step

    def y(self, joules: float) -> float:
        return _SIZE - self.x(joules)


def _frame(scale: _Scale, title: str) -> Iterator[str]:
    first, last = 10.0**scale.low, 10.0**scale.high
    yield _line(first, first, last, last, scale, "#888888")
    for exponent in range(scale.low, scale.high + 1):
        at = 10.0**exponent
        yield _line(at, first, at, last, scale, "#eeeeee")
        yield _line(first, at, last, at, scale, "#eeeeee")
        label = f"{at:g} J"
        yield _text(scale.x(at), _SIZE - _MARGIN + 16, label, "middle")
        yield _text(_MARGIN - 6, scale.y(at) + 4, label, "end")
    yield _text(_SIZE / 2, _SIZE - 14, "measured", "middle")
    yield _text(_MARGIN, 30, title, "start")
    yield _text(_MARGIN, 46, "predicted, the model left out", "start")


def _line(x1: float, y1: float, x2: float, y2: float, scale: _Scale, colour: str) -> str:
    return (
        f'<line x1="{scale.x(x1):.1f}" y1="{scale.y(y1):.1f}" x2="{scale.x(x2):.1f}" '
        f'y2="{scale.y(y2):.1f}" stroke="{colour}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dots(points: Sequence[Point], number: int, scale: _Scale) -> Iterator[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    for measured, predicted in dict.fromkeys(points):
        yield (
            f'<circle cx="{scale.x(measured):.1f}" cy="{scale.y(predicted):.1f}" r="2" '
            f'fill="{colour}" fill-opacity="0.6"/>'
        )


def _legend(names: Sequence[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        y = _SIZE - _MARGIN - 14 * (len(names) - place)
        colour = _COLOURS[place % len(_COLOURS)]
        yield f'<circle cx="{_SIZE - 176}" cy="{y - 4}" r="4" fill="{colour}"/>'
        yield _text(_SIZE - 166, y, name, "start")
