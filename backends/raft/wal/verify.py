"""Look at a data directory offline: what is in it, and whether a member could start from it. Changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from leasekit.backends.raft.core.types import HardState, Recovered, SnapshotMeta
from leasekit.backends.raft.wal import identity, records, segments, snapshots
from leasekit.backends.raft.wal.disk import Folder, Reader
from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.records import Type
from leasekit.backends.raft.wal.replay import Replayed, recover, replay
from leasekit.backends.raft.wal.segments import TEMPORARY
from leasekit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment. `used_bytes`: up to the end of its last sound record; the rest is space set aside."""

    name: str
    size_bytes: int
    used_bytes: int = 0
    records: int = 0
    first_index: int | None = None
    """Of its entries, the lowest and the highest index, void ones included; None: it has no entries."""
    last_index: int | None = None


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """One snapshot file. `problem`: what is wrong with it; it matters only if the log needs this one."""

    name: str
    size_bytes: int
    meta: SnapshotMeta | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found. A member can start from the directory if there are no `problems`."""

    path: str
    identity: identity.Identity | None = None
    segments: tuple[SegmentReport, ...] = ()
    snapshots: tuple[SnapshotReport, ...] = ()
    leftovers: tuple[str, ...] = ()
    """Files of writes that were cut off. The next start deletes them."""
    torn_bytes: int = 0
    """How much of a write that was cut off is at the log's end. Nobody was told of it; the next start cuts it."""
    hard_state: HardState | None = None
    """This and what follows: as a member would find it. None, or 0: it would find nothing."""
    snapshot: SnapshotMeta | None = None
    first_index: int = 0
    last_index: int = 0
    last_term: int = 0
    entries: int = 0
    """How many there are behind the snapshot, from `first_index` to `last_index`."""
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(path: Path) -> Report:
    """Check the data directory of a member that does not run. (Of one that runs, the end may look torn.)

    Raises:
        ConfigError: there is no such directory.
        DiskFailed: it cannot be read.
    """
    if not path.is_dir():
        raise ConfigError("data_dir", f"{path} is not a directory")
    return examine(Folder(path), str(path))


def examine(reader: Reader, path: str) -> Report:
    """The same for any directory; `path` is for the report."""
    names = reader.list()
    problems: list[str] = []
    try:
        owner = identity.read(reader)
        if owner is None:
            problems.append("there is no identity: no member has ever used this directory")
    except (Corrupt, ConfigError) as error:
        owner = None
        problems.append(str(error))
    found, torn_bytes = Recovered(), 0
    readable = False
    try:
        replayed = replay(reader)
        torn_bytes = replayed.last.torn_bytes if replayed.last else 0
        problems += _disorder(replayed)
        found, _ = recover(reader, replayed)
        readable = replayed.last is not None
        if not readable:
            problems.append("there is no log")
    except (Corrupt, ConfigError) as error:
        problems.append(str(error))
    last = found.entries[-1] if found.entries else found.snapshot.meta
    return Report(
        path=path,
        identity=owner,
        segments=tuple(_segment(reader, name) for name in names if segments.number_of(name) is not None),
        snapshots=tuple(_snapshot(reader, name) for name in names if snapshots.is_snapshot(name)),
        leftovers=tuple(name for name in names if name.endswith(TEMPORARY)),
        torn_bytes=torn_bytes,
        hard_state=found.hard_state if readable else None,
        snapshot=found.snapshot.meta if readable else None,
        first_index=found.entries[0].index if found.entries else 0,
        last_index=last.index,
        last_term=last.term,
        entries=len(found.entries),
        problems=tuple(problems),
    )


def _disorder(replayed: Replayed) -> Iterator[str]:
    """What no Raft log says, however sound its records are: a fault in the program that wrote it."""
    for before, after in pairwise(replayed.entries):
        if after.term < before.term:
            yield f"entry {after.index} has term {after.term}, and entry {before.index} before it term {before.term}"
    if replayed.hard_state.commit > replayed.last_index:
        yield f"commit is {replayed.hard_state.commit}, but the log ends at {replayed.last_index}"


def _segment(reader: Reader, name: str) -> SegmentReport:
    number = segments.number_of(name)
    assert number is not None
    data = reader.read(name)
    try:
        scan = segments.scan(number, data)
        indexes = [records.decode_entry(each.payload).index for each in scan.records if each.type == Type.ENTRY]
    except (Corrupt, ConfigError, ValueError, struct.error):
        return SegmentReport(name, len(data))
    lowest, highest = (min(indexes), max(indexes)) if indexes else (None, None)
    return SegmentReport(name, len(data), scan.end, len(scan.records), lowest, highest)


def _snapshot(reader: Reader, name: str) -> SnapshotReport:
    size = len(reader.read(name))
    try:
        return SnapshotReport(name, size, snapshots.load(reader, *snapshots.parse_name(name)).meta)
    except (Corrupt, ConfigError) as error:
        return SnapshotReport(name, size, problem=str(error))
