"""The record `<prefix>/<job>/slots`: how far a job has come, and what became of its last slots. Pure.

It is bound to no lease, so a claim outlives the run, and changed by compare-and-swap alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from leasekit.core.records import Reading, dump_record, load_record
from leasekit.schedule.times import format_slot

LINES_KEPT = 64


class Outcome(enum.StrEnum):
    """What became of a slot."""

    CLAIMED = "claimed"
    """Its run has begun, and nobody has written its end."""
    DONE = "done"
    FAILED = "failed"
    """The job said so itself: an exception, or an exit code other than 0."""
    SKIPPED = "skipped"
    """Not run, since an earlier run still went on."""
    MISSED = "missed"
    """Not run, since nobody was there in time."""
    LOST = "lost"
    """The run's process crashed, was cut off or was told to stop: how far it came is not known."""


@dataclass(frozen=True, slots=True)
class Line:
    """One slot, or one attempt at it. Skipped and missed slots that follow each other share one line."""

    slot: datetime
    """The nominal instant, UTC; of several slots the last one."""
    outcome: Outcome
    attempt: int = 0
    """1 for the first; 0: it was not run."""
    token: int | None = None
    election: str | None = None
    """The election whose leadership the run is."""
    id: str | None = None
    host: str | None = None
    pid: int | None = None
    claimed: str | None = None
    """When, in UTC, by the clock of whoever claimed it, corrected by the store's where that was wrong."""
    ended: str | None = None
    detail: str | None = None
    """What there is to say of the outcome: `exit 3`, `ValueError: ...`."""
    count: int = 1
    """How many slots this line stands for."""


@dataclass(frozen=True, slots=True)
class SlotsRecord:
    """How far a job has come. `mark` is the high-water mark: no slot up to it is ever claimed for the first time again."""

    mark: datetime
    schedule: str | None
    tz: str
    lines: tuple[Line, ...] = ()
    """The newest last; `LINES_KEPT` are kept, and those without an end."""

    def with_lines(self, *lines: Line) -> SlotsRecord:
        """With these after the others, and the mark raised to their slots."""
        merged = list(self.lines)
        for line in lines:
            if merged and _same_kind(merged[-1], line):
                merged[-1] = replace(line, count=merged[-1].count + line.count)
            else:
                merged.append(line)
        return replace(self, mark=max([self.mark, *(line.slot for line in lines)]), lines=_kept(merged))

    def ended(self, token: int, outcome: Outcome, detail: str | None, at: str | None) -> SlotsRecord:
        """With the run of this token ended so. Itself if that run has an end already, or is not known any more."""
        lines = tuple(
            replace(line, outcome=outcome, detail=detail, ended=at)
            if line.token == token and line.outcome is Outcome.CLAIMED
            else line
            for line in self.lines
        )
        return self if lines == self.lines else replace(self, lines=lines)

    @property
    def unfinished(self) -> tuple[Line, ...]:
        """The runs without an end, the earliest claimed first."""
        return tuple(line for line in self.lines if line.outcome is Outcome.CLAIMED)


def slots_key(job: str) -> str:
    """Where the record stands, relative to the store's prefix."""
    return f"{job}/slots"


def dump_slots(record: SlotsRecord) -> bytes:
    return dump_record(
        {
            "mark": format_slot(record.mark),
            "schedule": record.schedule,
            "tz": record.tz,
            "runs": [line_as_json(line) for line in record.lines],
        }
    )


def line_as_json(line: Line) -> dict[str, Any]:
    """A line as the record and the command line show it."""
    return {
        "slot": format_slot(line.slot),
        "outcome": line.outcome.value,
        "attempt": line.attempt,
        "token": line.token,
        "election": line.election,
        "id": line.id,
        "host": line.host,
        "pid": line.pid,
        "claimed": line.claimed,
        "ended": line.ended,
        "detail": line.detail,
        "count": line.count,
    }


def load_slots(value: bytes) -> SlotsRecord:
    """Raises ProtocolError if it is no such record, or one of a later leasekit."""
    data = load_record("slots", value)
    with Reading("slots"):
        return SlotsRecord(
            mark=_instant(data["mark"]),
            schedule=None if data["schedule"] is None else str(data["schedule"]),
            tz=str(data["tz"]),
            lines=tuple(_line(line) for line in data["runs"]),
        )


def _line(data: dict[str, Any]) -> Line:
    token, pid = data["token"], data["pid"]
    return Line(
        slot=_instant(data["slot"]),
        outcome=Outcome(data["outcome"]),
        attempt=int(data["attempt"]),
        token=None if token is None else int(token),
        election=data["election"],
        id=data["id"],
        host=data["host"],
        pid=None if pid is None else int(pid),
        claimed=data["claimed"],
        ended=data["ended"],
        detail=data["detail"],
        count=int(data["count"]),
    )


def _instant(text: Any) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)


def _same_kind(earlier: Line, later: Line) -> bool:
    not_run = (Outcome.SKIPPED, Outcome.MISSED)
    return earlier.outcome is later.outcome and later.outcome in not_run and earlier.detail == later.detail


def _kept(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The last ones, and whatever still runs: its end is to find its line."""
    surplus = len(lines) - LINES_KEPT
    return tuple(line for number, line in enumerate(lines) if number >= surplus or line.outcome is Outcome.CLAIMED)
