"""Leaderships as their holders saw them: since when, until when valid, until when believed in.

Valid means that leasekit would have answered "it leads": until the last deadline that was known, or the end if that came
first. Believed in means until the holder *noticed*: a paused process notices when it runs again. Between the two it could
act late, and only fences could refuse it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from leasekit.audit.timeline import Timeline
from leasekit.core.journal_event import ENDS, JournalEvent, Kind, Writer

Name = tuple[str | None, str | None, int | None]


@dataclass(frozen=True, slots=True)
class Leadership:
    """One leadership by its holder's journal. Moments are on the `Timeline`."""

    election: str
    id: str
    token: int
    elected: JournalEvent
    ended: JournalEvent | None
    """None: its end is in no journal. The holder was killed, is paused, or leads on."""
    began_s: float
    valid_until_s: float
    believed_until_s: float
    """At least, if the end is in no journal."""
    renewed_s: tuple[float, ...] = ()
    """When lines told of renewals; most have none."""

    @property
    def writer(self) -> Writer:
        return self.elected.writer

    @property
    def end(self) -> str:
        """How it ended, in a word or two."""
        if self.ended is None:
            return "not written"
        reason = self.ended.text("reason")
        return (
            self.ended.kind.value if reason in (None, self.ended.kind.value) else f"{self.ended.kind.value}: {reason}"
        )

    @property
    def late_s(self) -> float:
        """For how long it was believed in after its deadline; 0 if it was noticed in time."""
        return max(0.0, self.believed_until_s - self.valid_until_s)


@dataclass(slots=True)
class _Open:
    """A leadership whose end has not been read yet."""

    elected: JournalEvent
    deadline_s: float
    renewed: list[JournalEvent] = field(default_factory=list)

    def closed(self, timeline: Timeline, ended: JournalEvent | None, last: JournalEvent) -> Leadership:
        elected = self.elected
        assert elected.election is not None and elected.id is not None and elected.token is not None
        deadline_s = self.deadline_s
        if ended is not None:
            deadline_s = ended.deadline_s or deadline_s
            believed_s = ended.boot_s
        else:
            believed_s = max(deadline_s, last.boot_s)
        return Leadership(
            election=elected.election,
            id=elected.id,
            token=elected.token,
            elected=elected,
            ended=ended,
            began_s=timeline.at(elected),
            valid_until_s=timeline.place(elected.writer, max(elected.boot_s, min(deadline_s, believed_s))),
            believed_until_s=timeline.place(elected.writer, max(elected.boot_s, believed_s)),
            renewed_s=tuple(timeline.at(event) for event in self.renewed),
        )


def leaderships(events: Iterable[JournalEvent], timeline: Timeline) -> tuple[list[Leadership], list[str]]:
    """All leaderships, by election and token; and what is to be said of them."""
    by_process: dict[str, list[JournalEvent]] = defaultdict(list)
    for event in events:
        by_process[event.writer.process].append(event)
    found: list[Leadership] = []
    notes: list[str] = []
    for own in by_process.values():
        own.sort(key=lambda event: event.seq)
        found += _of_process(own, timeline, notes)
    found.sort(key=lambda one: (one.election, one.token, one.began_s))
    return found, notes


def _of_process(events: Sequence[JournalEvent], timeline: Timeline, notes: list[str]) -> list[Leadership]:
    found: list[Leadership] = []
    held: dict[Name, _Open] = {}
    for event in events:
        name = (event.election, event.id, event.token)
        if event.kind is Kind.ELECTED:
            if None in name:
                notes.append(f"{event.writer.process}: event {event.seq} says not what was won; skipped")
                continue
            held[name] = _Open(event, event.deadline_s or event.boot_s)
        elif event.kind is Kind.RENEWED:
            for one in held.values():
                if one.elected.details.get("lease") == event.details.get("lease"):
                    one.deadline_s = event.deadline_s or one.deadline_s
                    one.renewed.append(event)
        elif event.kind in ENDS:
            if (ending := held.pop(name, None)) is not None:
                found.append(ending.closed(timeline, event, event))
            else:
                notes.append(f"{event.election}: the beginning of token {event.token} is in no journal; it is left out")
    return found + [one.closed(timeline, None, events[-1]) for one in held.values()]
