"""One axis for the moments of all machines: seconds of wall time.

On one machine and in one boot, moments stand as its suspend-aware clock has them, however its wall clock was set
meanwhile. Between machines there are only wall clocks, which agree as far as somebody keeps them so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from leasekit.core.journal_event import JournalEvent, Writer

STEPPED_S = 0.5
"""A wall clock that moved so much against the other was set; less is what slewing and reading do."""


class Timeline:
    """Where on the axis something happened."""

    def __init__(self, events: Iterable[JournalEvent]) -> None:
        offsets: dict[tuple[str, ...], list[float]] = defaultdict(list)
        hosts: dict[tuple[str, ...], str] = {}
        for event in events:
            clock = clock_of(event.writer)
            offsets[clock].append(event.wall_s - event.boot_s)
            hosts[clock] = event.writer.host
        self._offset_s = {clock: median(found) for clock, found in offsets.items()}
        self.notes = [
            f"{hosts[clock]}: its wall clock was set by {max(found) - min(found):.1f} s meanwhile; "
            "its moments are shown as if it had not been"
            for clock, found in offsets.items()
            if max(found) - min(found) > STEPPED_S
        ]

    def at(self, event: JournalEvent) -> float:
        """When it happened."""
        return self.place(event.writer, event.boot_s)

    def place(self, writer: Writer, boot_s: float) -> float:
        """A moment of a writer's own clock."""
        return boot_s + self._offset_s[clock_of(writer)]


def clock_of(writer: Writer) -> tuple[str, ...]:
    """What two writers must share for their moments to compare exactly; each its own where the system does not tell."""
    if not writer.boot_id:
        return (writer.process,)
    return writer.boot_id, writer.time_namespace
