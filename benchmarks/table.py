"""Results as Markdown tables, aligned so that a terminal shows them well too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass
class Table:
    """Rows of what was measured. `notes` say how, and what to beware of."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One more row."""
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        rows = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.columns))]
        lines = [self._line(row, widths) for row in rows]
        rule = "|".join([":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])])
        text = [f"### {self.title}", "", lines[0], f"|{rule}|", *lines[1:], ""]
        return "\n".join([*text, *(f"{note}\n" for note in self.notes)])

    @staticmethod
    def _line(row: Sequence[str], widths: Sequence[int]) -> str:
        figures = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        return f"| {' | '.join([row[0].ljust(widths[0]), *figures])} |"


def ms(seconds: float) -> str:
    """A duration in milliseconds, to three figures."""
    value = seconds * 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)


def slow(values: Sequence[float]) -> float:
    """The ninetieth percentile."""
    return quantiles(values, n=10)[-1] if len(values) > 1 else values[0]


def ratio(value: float, reference: float) -> str:
    """How many times as much."""
    return f"{value / reference:.2f}"
