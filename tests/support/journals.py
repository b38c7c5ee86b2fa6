"""Journals made up for tests: processes on machines, each with its clocks, on one true time axis."""

from __future__ import annotations

from typing import Any

from leasekit.audit import Reading
from leasekit.core.journal_event import JournalEvent, Kind, Writer, dump
from leasekit.core.logical import NEVER, VectorClock

EPOCH_S = 1_800_000_000.0


class Machine:
    """Its suspend-aware clock began `booted_s` before the axis; its wall clock is `ahead_s` seconds fast."""

    def __init__(self, name: str = "m", *, booted_s: float = 1000.0, ahead_s: float = 0.0) -> None:
        self.name = name
        self.booted_s = booted_s
        self.ahead_s = ahead_s

    def process(self, name: str) -> Author:
        """A process on it."""
        return Author(self, name)


class Author:
    """A process, and what it wrote."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.events: list[JournalEvent] = []
        self.known: VectorClock = NEVER
        self._writer = Writer(f"{machine.name}-{name}", machine.name, 7, f"boot of {machine.name}", "time:[1]")

    def tell(self, kind: Kind, at_s: float, token: int | None = None, **details: Any) -> JournalEvent:
        """It has an event at that moment of the axis."""
        self.known = self.known.tick(self._writer.process)
        if "deadline_s" in details:
            details["deadline_s"] += self.machine.booted_s
        event = JournalEvent(
            kind=kind,
            writer=self._writer,
            seq=len(self.events) + 1,
            boot_s=at_s + self.machine.booted_s,
            wall_s=at_s + EPOCH_S + self.machine.ahead_s,
            clock=self.known,
            election=None if kind is Kind.RENEWED else details.pop("election", "e"),
            id=None if kind is Kind.RENEWED else self.name,
            token=token,
            details=details,
        )
        self.events.append(event)
        return event

    def hears(self, other: Author) -> None:
        """What the other knows now came to it through the store."""
        self.known = self.known.merged(other.known)

    def leads(self, token: int, from_s: float, deadline_s: float, noticed_s: float | None) -> None:
        """One leadership: `noticed_s` None for one whose end is not written."""
        self.tell(Kind.ELECTED, from_s, token, lease=f"l{token}", deadline_s=deadline_s)
        if noticed_s is not None:
            late = noticed_s > deadline_s
            kind, reason = (Kind.LOST, "deadline") if late else (Kind.RESIGNED, "resigned")
            self.tell(kind, noticed_s, token, lease=f"l{token}", reason=reason, deadline_s=deadline_s)

    @property
    def reading(self) -> Reading:
        """As read from its file."""
        return Reading(self.name, tuple(self.events))

    @property
    def file(self) -> bytes:
        """Its file."""
        return b"".join(map(dump, self.events))
