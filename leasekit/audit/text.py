"""A report as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from leasekit.audit import wording
from leasekit.audit.order import Placed
from leasekit.audit.report import ElectionReport, Report


def as_text(report: Report, *, events: bool = False) -> str:
    """The whole report; with `events`, every event in order."""
    parts = [wording.verdict(report)]
    parts += [_election(election, events=events, max_skew_s=report.max_skew_s) for election in report.elections]
    return "\n\n".join(parts)


def _election(election: ElectionReport, *, events: bool, max_skew_s: float) -> str:
    parts = [f"Election {wording.printable(election.name)}", _leaderships(election)]
    for overlap in election.overlaps:
        first, *rest = wording.about_overlap(election, overlap)
        parts.append("\n".join([f"! {first}", *(f"  {sentence}" for sentence in rest)]))
    if election.refusals:
        lines = [f"  {wording.moment(one.at_s)}  {wording.about_event(one)}" for one in election.refusals]
        parts.append("\n".join(["Refused by fences:", *lines]))
    if election.undecided:
        parts.append(
            f"{election.undecided} handovers between machines are closer than their clocks agree ({max_skew_s:g} s): "
            "their order is not known."
        )
    if events:
        parts.append(_events(election.events))
    return "\n\n".join(parts)


def _leaderships(election: ElectionReport) -> str:
    if not election.leaderships:
        return "  no leadership"
    heads = ["TOKEN", "LEADER", "FROM", "VALID UNTIL", "BELIEVED UNTIL", "END"]
    rows = [
        [
            str(one.token),
            wording.printable(one.id),
            wording.moment(one.began_s, date=True),
            wording.moment(one.valid_until_s),
            wording.moment(one.believed_until_s) + (f" (+{one.late_s:.3f} s)" if one.late_s else ""),
            wording.printable(one.end),
        ]
        for one in election.leaderships
    ]
    return _table(heads, rows)


def _events(events: Sequence[Placed]) -> str:
    rows = [
        [
            f"#{one.number}",
            "||" if one.concurrent else "",
            wording.moment(one.at_s),
            str(one.event.clock.lamport),
            wording.about_event(one),
            f"after {', '.join(f'#{number}' for number in one.heard)}" if one.heard else "",
        ]
        for one in events
    ]
    table = _table(["EVENT", "", "TIME", "LAMPORT", "WHAT", "KNOWING OF"], rows)
    return f"{table}\n  || concurrent with the event before it: only the clocks say which came first"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    return "\n".join(f"  {line}".rstrip() for line in lines)
