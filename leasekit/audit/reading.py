"""From a file's bytes to events. What cannot be read is skipped, counted and said, never guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from leasekit.core.journal_event import LONGEST_LINE, Foreign, JournalEvent, NotAnEvent, load

MOST_FAULTS = 10
_BEGINNING = b'{"schema":'


@dataclass(frozen=True, slots=True)
class Reading:
    """One file: its events, and what was the matter with it (a line of text each)."""

    name: str
    events: tuple[JournalEvent, ...]
    faults: tuple[str, ...] = ()
    foreign: bool = False
    """Whether it is no journal at all: it has contents, and not one line that a journal could have."""


def read_journal(name: str, data: bytes) -> Reading:
    """Read a journal. `name` stands before what is said of it."""
    events: list[JournalEvent] = []
    faults: list[str] = []
    foreign = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise Foreign(f"is {len(line)} bytes long")
            events.append(load(line))
        except NotAnEvent as error:
            if _is_torn(line):
                where = "the last line" if number == len(lines) else f"line {number}"
                faults.append(f"{name}: {where} is torn, as a crash leaves it; skipped")
            else:
                foreign += isinstance(error, Foreign)
                faults.append(f"{name}: line {number} {error}; skipped")
    if len(faults) > MOST_FAULTS:
        faults[MOST_FAULTS:] = [f"{name}: {len(faults) - MOST_FAULTS} more lines were skipped"]
    if not events and foreign:
        faults = [f"{name} is no journal"]
    return Reading(name, tuple(events), tuple(faults), foreign=not events and foreign > 0)


def _is_torn(line: bytes) -> bool:
    """Whether it is the beginning of a line."""
    return line[: len(_BEGINNING)] == _BEGINNING[: len(line)] and not line.endswith(b"}")


def together(readings: Iterable[Reading]) -> tuple[list[JournalEvent], list[str]]:
    """The events of all files, each once, and what is to be said of them."""
    by_key: dict[tuple[str, int], JournalEvent] = {}
    said: list[str] = []
    twice = 0
    for reading in readings:
        said += reading.faults
        for event in reading.events:
            twice += by_key.setdefault(event.key, event) != event
    if twice:
        said.append(f"{twice} events stand twice with different contents: a journal was copied and changed")
    said += _missing(by_key)
    return list(by_key.values()), said


def _missing(by_key: dict[tuple[str, int], JournalEvent]) -> list[str]:
    """Lines that were never written (a full disk), or are in files that were not given."""
    written: Counter[str] = Counter()
    highest: Counter[str] = Counter()
    for process, seq in by_key:
        written[process] += 1
        highest[process] = max(highest[process], seq)
    return [
        f"{process}: {highest[process] - count} of its {highest[process]} events are missing (not written, or not given)"
        for process, count in written.items()
        if highest[process] > count
    ]
