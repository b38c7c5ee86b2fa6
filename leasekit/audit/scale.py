"""From moments to places on a drawing, and the marks of its axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

_MOST_MARKS = 9
_STEPS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 7 * 86400, 28 * 86400),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of time, and where on the drawing it lies."""

    from_s: float
    until_s: float
    left: float
    right: float

    @staticmethod
    def around(from_s: float, until_s: float, left: float, right: float) -> Scale:
        """With a little room at both ends."""
        room_s = max(0.02 * (until_s - from_s), 0.05)
        return Scale(from_s - room_s, until_s + room_s, left, right)

    def x(self, at_s: float) -> float:
        """Where a moment is."""
        share = (at_s - self.from_s) / (self.until_s - self.from_s)
        return self.left + share * (self.right - self.left)

    def marks(self) -> list[tuple[float, str]]:
        """Round moments, and what they are called."""
        span_s = self.until_s - self.from_s
        step_s = next((step for step in _STEPS_S if span_s / step <= _MOST_MARKS), span_s / _MOST_MARKS)
        first, last = math.ceil(self.from_s / step_s), math.floor(self.until_s / step_s)
        return [(number * step_s, _named(number * step_s, step_s)) for number in range(first, last + 1)]


def _named(at_s: float, step_s: float) -> str:
    shown = datetime.fromtimestamp(round(at_s, 3), UTC)
    if step_s >= 86400:
        return f"{shown:%Y-%m-%d}"
    if step_s >= 60:
        return f"{shown:%H:%M}"
    return f"{shown:%H:%M:%S}" if step_s >= 1 else f"{shown:%H:%M:%S}.{shown.microsecond // 1000:03}"
