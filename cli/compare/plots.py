"""Distributions as pictures: for each store a strip with a dot for each sample, over a box from quartile to quartile. Pure.

SVG without script, font or network; readable on light and on dark ground.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from leasekit.cli.compare import figures
from leasekit.cli.compare.metrics import Metric

WIDTH = 860
_LEFT, _RIGHT = 120, WIDTH - 150
_TOP, _ROW, _AXIS = 34, 34, 34
_DOT, _SPREAD, _BOX = 2.6, 18.0, 22
_WIDEST_LABEL = 16
_MOST_DOTS = 400
# From here on a linear axis would press most of the dots into a corner.
_LOGARITHMIC_FROM = 25.0
_STEPS = (1, 2, 5, 10)
_MOST_MARKS = 8

_LIGHT = {
    "ink": "#1d2733",
    "dim": "#66717f",
    "line": "#d5dbe3",
    "ground": "#ffffff",
    "dot": "#2563a8",
    "box": "#2563a8",
}
_DARK = {"ink": "#e4e9ef", "dim": "#97a3b2", "line": "#364150", "ground": "#141a21", "dot": "#7db4f0", "box": "#7db4f0"}
_PROMISE = {"light": "#c4561b", "dark": "#e8834a"}

# Literal colours twice, not variables: many programs that show SVG know no variables.
_COLOURS = Template(
    ".lc text{fill:$ink}.lc .dim{fill:$dim}.lc .ground{fill:$ground}.lc .grid{stroke:$line}.lc .dot{fill:$dot}"
    ".lc .box{fill:$box}.lc .middle{stroke:$ink}.lc .promise{stroke:$promise}.lc .promised{fill:$promise}"
)
STYLE = (
    ".lc{font:12px system-ui,sans-serif}.lc .title{font-size:14px;font-weight:600}.lc .dot{fill-opacity:.6}"
    ".lc .box{fill-opacity:.22}.lc .middle{stroke-width:2.5}.lc .promise{stroke-width:2;stroke-dasharray:4 2}"
    f"{_COLOURS.substitute(_LIGHT, promise=_PROMISE['light'])}"
    f"@media (prefers-color-scheme:dark){{{_COLOURS.substitute(_DARK, promise=_PROMISE['dark'])}}}"
)


@dataclass(frozen=True, slots=True)
class Strip:
    """One store's row. `bound`: what it promises not to exceed, if it promises that."""

    label: str
    samples: Sequence[float]
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, values: Sequence[float]) -> Axis:
        """One on which all these values have a place: from zero, or where they differ by far, logarithmic."""
        positive = [value for value in values if value > 0]
        most = max(positive, default=1.0)
        if positive and len(positive) == len(values) and most / min(positive) >= _LOGARITHMIC_FROM:
            return cls(min(positive) / 1.15, most * 1.15, logarithmic=True)
        return cls(0.0, most * 1.05, logarithmic=False)

    def x(self, value: float) -> float:
        """Where a value is."""
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return _LEFT + share * (_RIGHT - _LEFT)

    def marks(self) -> list[float]:
        """Round values along it."""
        if self.logarithmic:
            return self._logarithmic_marks()
        step = next(
            scale * step
            for exponent in range(-12, 13)
            for step, scale in ((step, 10.0**exponent) for step in _STEPS)
            if self.high / (scale * step) <= _MOST_MARKS
        )
        return [float(f"{step * number:.6g}") for number in range(int(self.high / step) + 1)]

    def _logarithmic_marks(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            marks = [step * 10.0**decade for decade in decades for step in steps]
            within = [mark for mark in marks if self.low <= mark <= self.high]
            if len(within) <= _MOST_MARKS:
                return within
        return within[:: math.ceil(len(within) / _MOST_MARKS)]


def chart(metric: Metric, strips: Sequence[Strip], *, scale: float, unit: str) -> tuple[str, float]:
    """One figure: a group of SVG elements, and its height. Samples are multiplied by `scale` to be in `unit`."""
    rows = [
        Strip(
            strip.label,
            [sample * scale for sample in strip.samples],
            None if strip.bound is None else strip.bound * scale,
        )
        for strip in strips
    ]
    axis = Axis.around([value for row in rows for value in (*row.samples, *([row.bound] if row.bound else []))])
    bottom = _TOP + _ROW * len(rows)
    title = f"{metric.title}, {unit}" if unit else metric.title
    how = '<tspan class="dim" dx="6">(logarithmic)</tspan>' if axis.logarithmic else ""
    parts = [f'<text class="title" x="16" y="20">{_text(title)}{how}</text>']
    for mark in axis.marks():
        x = axis.x(mark)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom + 5}"/>')
        parts.append(f'<text class="dim" text-anchor="middle" x="{x:.1f}" y="{bottom + 19}">{mark:g}</text>')
    parts += [_strip(axis, row, _TOP + _ROW * (number + 0.5)) for number, row in enumerate(rows)]
    return "".join(parts), bottom + _AXIS


def as_svg(charts: Sequence[tuple[str, float]], about: str) -> str:
    """Charts one below the other, as one picture that stands by itself."""
    drawn: list[str] = []
    height = 0.0
    for body, tall in charts:
        drawn.append(f'<g transform="translate(0 {height:g})">{body}</g>')
        height += tall
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lc" role="img" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}"><title>{_text(about)}</title><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{height:g}"/>{"".join(drawn)}</svg>\n'
    )


def _strip(axis: Axis, row: Strip, y: float) -> str:
    label = row.label if len(row.label) <= _WIDEST_LABEL else f"{row.label[: _WIDEST_LABEL - 3]}..."
    parts = [f'<text x="16" y="{y + 4:g}">{_text(label)}</text>']
    found = figures.summary(row.samples)
    if found is None:
        return "".join(parts)
    said = {
        name: figures.number(getattr(found, name))
        for name in ("least", "lower_quartile", "median", "upper_quartile", "most")
    }
    parts.append(f"<g><title>{_text(_told(row, said))}</title>")
    low, high = axis.x(found.lower_quartile), axis.x(found.upper_quartile)
    parts.append(
        f'<rect class="box" x="{low:.1f}" y="{y - _BOX / 2:g}" width="{max(high - low, 1):.1f}" height="{_BOX}" rx="2"/>'
    )
    for number, sample in enumerate(_thinned(row.samples)):
        parts.append(f'<circle class="dot" cx="{axis.x(sample):.1f}" cy="{y + _jitter(number):.1f}" r="{_DOT}"/>')
    x = axis.x(found.median)
    parts.append(f'<line class="middle" x1="{x:.1f}" y1="{y - 13:g}" x2="{x:.1f}" y2="{y + 13:g}"/></g>')
    figure = said["median"] if said["median"] == said["most"] else f"{said['median']} ({said['most']})"
    parts.append(f'<text class="dim" x="{_RIGHT + 14}" y="{y + 4:g}">{figure}</text>')
    if row.bound is not None:
        x = axis.x(row.bound)
        parts.append(f'<line class="promise" x1="{x:.1f}" y1="{y - 15:g}" x2="{x:.1f}" y2="{y + 15:g}"/>')
    return "".join(parts)


def _told(row: Strip, said: Mapping[str, str]) -> str:
    bound = "" if row.bound is None else f"; promised: at most {figures.number(row.bound)}"
    return (
        f"{row.label}: {len(row.samples)} samples from {said['least']} to {said['most']}, median {said['median']}, "
        f"half of them from {said['lower_quartile']} to {said['upper_quartile']}{bound}"
    )


def _thinned(samples: Sequence[float]) -> Sequence[float]:
    """All, or of very many, as many as a picture can hold: evenly over the sorted ones, the extremes among them."""
    if len(samples) <= _MOST_DOTS:
        return samples
    ordered = sorted(samples)
    return [ordered[round(number * (len(ordered) - 1) / (_MOST_DOTS - 1))] for number in range(_MOST_DOTS)]


def _jitter(number: int) -> float:
    """Spreads dots evenly up and down without chance: multiples of the golden ratio."""
    return ((number * 0.6180339887) % 1 - 0.5) * _SPREAD


def _text(text: str) -> str:
    return escape(figures.printable(text))
