"""What a data directory says, read from its first segment to its last. Changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from leasekit.backends.raft.core.types import Entry, HardState, Recovered, Snapshot
from leasekit.backends.raft.wal import records, segments, snapshots
from leasekit.backends.raft.wal.disk import Reader
from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.records import Marker, Record, Type
from leasekit.backends.raft.wal.segments import Scan

T = TypeVar("T")

BEGINNING = Marker(0, 0, reset=False)
"""Stands for the empty state before all entries, for which there is no file. Known by identity: a received snapshot may
well have index 0, and has a file."""


@dataclass(slots=True)
class Replayed:
    """What the segments say. Later records win over earlier ones."""

    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    """Without a gap. The first ones may be covered by a snapshot."""
    markers: list[Marker] = field(default_factory=list)
    """The snapshots that the log may go on from, oldest first. Rising indexes."""
    highest: dict[int, int] = field(default_factory=dict)
    """For each segment: the highest index of its entries that may still count, 0 if it has none."""
    last: Scan | None = None
    """The last segment. None: there is no log yet."""

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.markers[-1].index

    def _take(self, scan: Scan, record: Record) -> None:
        if record.type == Type.ENTRY:
            self._take_entry(scan, record)
        elif record.type == Type.HARD_STATE:
            self.hard_state = _decoded(scan, record, records.decode_hard_state)
        elif record.type == Type.SNAPSHOT:
            self._take_marker(_decoded(scan, record, records.decode_marker))
        elif record.type not in (Type.METADATA, Type.SYNCED):
            raise Corrupt(scan.name, record.offset, f"a record of the unknown type {record.type}")

    def _take_entry(self, scan: Scan, record: Record) -> None:
        entry = _decoded(scan, record, records.decode_entry)
        if self.entries and entry.index <= self.entries[0].index:
            self.entries.clear()
        elif self.entries:
            if entry.index > self.last_index + 1:
                raise Corrupt(scan.name, record.offset, f"entry {entry.index} follows entry {self.last_index}")
            del self.entries[entry.index - self.entries[0].index :]
        self.entries.append(entry)
        self.highest[scan.number] = max(self.highest[scan.number], entry.index)

    def _take_marker(self, marker: Marker) -> None:
        if marker.reset:
            self.entries.clear()
            self.markers.clear()
            self.highest = dict.fromkeys(self.highest, 0)
        # Each segment's head repeats the newest one.
        if not self.markers or self.markers[-1].index != marker.index:
            self.markers.append(replace(marker, reset=False))


def replay(reader: Reader) -> Replayed:
    """Read all segments.

    Raises:
        Corrupt: what once was durable is damaged; where.
        ConfigError: written by a newer version.
        DiskFailed: a file cannot be read.
    """
    replayed = Replayed()
    names = reader.list()
    numbers = [number for name in names if (number := segments.number_of(name)) is not None]
    if not numbers or numbers[0] == 1:
        replayed.markers.append(BEGINNING)
    before: Scan | None = None
    for number in numbers:
        scan = segments.scan(number, reader.read(segments.name_of(number)))
        if before is not None:
            _check_follows(before, scan)
        replayed.highest[number] = 0
        for record in scan.records:
            replayed._take(scan, record)
        before = scan
    if before is not None and (damage := before.damage_as_last()):
        raise damage
    if before is None and (orphan := next(filter(snapshots.is_snapshot, names), None)):
        raise Corrupt(orphan, 0, "there is a snapshot, but the log is missing")
    if not replayed.markers:
        raise Corrupt(segments.name_of(numbers[0] - 1), 0, "it is missing, although no snapshot stands for it")
    replayed.last = before
    return replayed


def recover(reader: Reader, replayed: Replayed) -> tuple[Recovered, Marker]:
    """Choose the newest sound snapshot from which the log goes on, with the entries behind it; and its marker.

    Raises:
        Corrupt: there is none, so entries are missing that this member may have acknowledged.
    """
    first_damage: Corrupt | None = None
    for marker in reversed(replayed.markers):
        try:
            _check_reached(replayed, marker)
            snapshot = Snapshot() if marker is BEGINNING else snapshots.load(reader, marker.index, marker.term)
        except Corrupt as damage:
            # The newest one's is the cause; that the log does not go back to older ones is as it should be.
            first_damage = first_damage or damage
            continue
        entries = tuple(entry for entry in replayed.entries if entry.index > marker.index)
        return Recovered(_clamped(replayed), snapshot, entries), marker
    assert first_damage is not None
    raise first_damage


def _check_follows(before: Scan, scan: Scan) -> None:
    if scan.number != before.number + 1:
        raise Corrupt(segments.name_of(before.number + 1), 0, f"it is missing, although there is {scan.name}")
    if damage := before.damage_before(scan):
        raise damage


def _check_reached(replayed: Replayed, marker: Marker) -> None:
    """Everything behind `marker` up to the newest snapshot, and what is behind that, must be there."""
    first, last = (replayed.entries[0].index, replayed.entries[-1].index) if replayed.entries else (None, marker.index)
    newest = replayed.markers[-1].index
    if (first is not None and first > marker.index + 1) or last < newest:
        assert replayed.last is not None
        reason = f"the log does not have all entries from {marker.index + 1} to {max(last, newest)}"
        raise Corrupt(segments.name_of(min(replayed.highest)), 0, reason)


def _clamped(replayed: Replayed) -> HardState:
    """With a commit that is there: it may be told of entries whose write was cut off; snapshots are of committed ones."""
    state = replayed.hard_state
    commit = min(max(state.commit, replayed.markers[-1].index), replayed.last_index)
    return HardState(state.term, state.vote, commit)


def _decoded(scan: Scan, record: Record, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(record.payload)
    except (struct.error, ValueError) as error:
        raise Corrupt(scan.name, record.offset, f"the record makes no sense: {error}") from error
