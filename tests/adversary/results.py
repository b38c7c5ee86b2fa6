"""Results of many rounds: kept as lines of JSON, and shown as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from adversary.disturbances import Disturbance
from adversary.judge import Verdict
from adversary.round import Plan, Result


@dataclass(slots=True)
class Tally:
    """Rounds of one store and one guard, counted."""

    rounds: int = 0
    disturbances: Counter[Disturbance] = field(default_factory=Counter)
    writes: int = 0
    stale: int = 0
    refused: int = 0
    stale_accepted: int = 0

    def add(self, result: Result) -> None:
        verdict = result.verdict
        self.rounds += 1
        self.disturbances[result.plan.disturbance] += 1
        self.writes += verdict.accepted
        self.stale += verdict.stale
        self.refused += verdict.refused
        self.stale_accepted += verdict.stale_accepted

    @property
    def cells(self) -> list[str]:
        counted = [self.disturbances[disturbance] for disturbance in Disturbance]
        numbers = [self.rounds, *counted, self.writes, self.stale, self.refused, self.stale_accepted]
        return [f"{number:,}" for number in numbers]


HEAD = (
    *("store", "guard", "rounds", *Disturbance),
    *("writes", "stale attempts", "refusals", "accepted stale writes"),
)


def keep(result: Result, file: Path) -> None:
    """Append one result."""
    told = {
        "plan": asdict(result.plan),
        "verdict": asdict(result.verdict),
        "missed": result.missed,
        "broken": result.broken,
    }
    with file.open("a") as lines:
        lines.write(json.dumps(told) + "\n")


def kept(file: Path) -> Iterator[Result]:
    """All results that were kept."""
    for line in file.read_text().splitlines():
        told = json.loads(line)
        plan = told["plan"] | {"disturbance": Disturbance(told["plan"]["disturbance"])}
        verdict = told["verdict"] | {"violations": tuple(told["verdict"]["violations"])}
        yield Result(Plan(**plan), Verdict(**verdict), tuple(told["missed"]), "", told["broken"])


def table(results: Iterable[Result]) -> str:
    """A line for each pair of a store and a guard, and one for all, of the rounds that went as planned."""
    tallies: dict[tuple[str, str], Tally] = {}
    total = Tally()
    for result in results:
        if not result.as_planned:
            continue
        tallies.setdefault((result.plan.store, result.plan.guard), Tally()).add(result)
        total.add(result)
    rows = [[*pair, *tally.cells] for pair, tally in sorted(tallies.items())]
    return _aligned([list(HEAD), *rows, ["all", "", *total.cells]])


def summary(results: Sequence[Result]) -> str:
    """How many are wrong, and what is not in the table."""
    wrong = sum(bool(result.verdict.violations) for result in results)
    broken = sum(bool(result.broken) for result in results)
    apart = [result for result in results if not result.as_planned and not result.broken]
    without_bite = sum(result.verdict.stale == 0 for result in apart)
    return (
        f"wrong: {wrong} of {len(results)} rounds\n"
        f"not as planned, and not in the table: {len(apart)}, {without_bite} of them without a stale attempt\n"
        f"broken off: {broken}"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown that can be read as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, cell, width in cells) + " |"
        for cells in (list(zip(range(len(row)), row, widths, strict=True)) for row in rows)
    ]
    rule = (
        "|"
        + "|".join(("-" * (width + 2)) if at < 2 else "-" * (width + 1) + ":" for at, width in enumerate(widths))
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])
