"""Segments: the log's files, numbered without a gap. Only the last one is written to.

    wal-0000000000000007.log:  METADATA [SNAPSHOT] HARD_STATE | ENTRY... HARD_STATE SYNCED ENTRY... | zeros

What stands before the first bar is the head. It is durable before the file gets its name, and repeats what older
segments said, so that those can be deleted. A segment is wholly durable before the next one gets its name; the zeros
are space set aside.

A torn tail can therefore be only in the last segment, and only behind what was known to be durable. Whether it is: the
head is, and so is what any sound record, be it before or behind the bad place, says was `synced` when it was made. Such
a record is written after each sync, without a sync of its own. Sound records behind the bad place that say less were
made in the same unsynced stretch, whose pages the system may write in any order: they prove nothing, and are cut.

What stays undetected is damage to the very last write if the machine (not only the process) failed right behind it, so
that the note of its sync was lost at the same time. To close that too would cost a second sync for each write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from leasekit.backends.raft.wal import records
from leasekit.backends.raft.wal.disk import Disk, File
from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.records import MAGIC, Metadata, Record, Type
from leasekit.errors import ConfigError

TEMPORARY = ".tmp"
"""Ends the names of files that are not finished. Whoever opens the log deletes them."""

_NAME = re.compile(r"wal-(\d{16})\.log")

Part = tuple[Type, bytes]
"""A record to be: its type and its payload."""


def name_of(number: int) -> str:
    return f"wal-{number:016d}.log"


def number_of(name: str) -> int | None:
    """None: it is not a segment's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(slots=True)
class Tally:
    """What was done to the disk since the log was opened."""

    bytes_written: int = 0
    syncs: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment's bytes say. `records` are sound and follow each other; behind `end` is nothing sound that does."""

    number: int
    data: bytes = field(repr=False)
    records: tuple[Record, ...]
    end: int
    reason: str
    """Why there is no further record at `end`."""

    @property
    def name(self) -> str:
        return name_of(self.number)

    @property
    def crc(self) -> int:
        """What the next record must have as its `previous`."""
        return self.records[-1].crc

    @property
    def torn_bytes(self) -> int:
        """How much of the unsynced stretch behind `end` got to the disk; of the last segment, if it is not damaged."""
        return len(self.data[self.end :].rstrip(b"\0"))

    def damage_as_last(self) -> Corrupt | None:
        """What is wrong if this is the last segment, whose unsynced tail may be torn."""
        durable = max([records.decode_metadata(self.records[0].payload).head_bytes, *self._durable_behind()])
        if self.end >= durable:
            return None
        return Corrupt(self.name, self.end, f"{self.reason}, although the first {durable} bytes were durable")

    def damage_before(self, following: Scan) -> Corrupt | None:
        """What is wrong if `following` is the next segment: it knows this one's last record."""
        if following.records[0].previous == self.crc:
            return None
        reason = self.reason if any(self.data[self.end :]) else "records are missing"
        return Corrupt(self.name, self.end, f"{reason}, although {following.name} follows")

    def _durable_behind(self) -> Iterable[int]:
        at = self.data.find(MAGIC, self.end)
        while at >= 0:
            found = records.decode(self.data, at, segment=self.number)
            if isinstance(found, Record):
                yield found.synced
            at = self.data.find(MAGIC, found.end if isinstance(found, Record) else at + 1)


def scan(number: int, data: bytes) -> Scan:
    """Read a segment up to the first place where no sound record follows.

    Raises:
        Corrupt: it has no metadata, with which every segment gets its name.
        ConfigError: it was written by a newer version. Use that one, or a later one.
    """
    found: list[Record] = []
    end = 0
    while isinstance(record := records.decode(data, end, segment=number), Record):
        if found and record.previous != found[-1].crc:
            return Scan(number, data, tuple(found), end, "the record is not of this chain")
        if not found:
            _check_metadata(number, record)
        found.append(record)
        end = record.end
    if not found:
        raise Corrupt(name_of(number), 0, record)
    return Scan(number, data, tuple(found), end, record)


def _check_metadata(number: int, record: Record) -> None:
    name = name_of(number)
    if record.type != Type.METADATA or not record.payload:
        raise Corrupt(name, 0, "the first record is not the segment's metadata")
    version = records.version_of(record.payload)
    if version > records.FORMAT_VERSION:
        known = records.FORMAT_VERSION
        raise ConfigError("data_dir", f"{name} has format version {version}; this program knows up to {known}: upgrade")
    if version != records.FORMAT_VERSION or len(record.payload) != records.METADATA_BYTES:
        raise Corrupt(name, 0, "the segment's metadata makes no sense")


class Appender:
    """The last segment. Records are collected by `add`, and go to the file with `flush` or `sync`."""

    def __init__(self, file: File, number: int, *, end: int, crc: int, tally: Tally) -> None:
        self.number = number
        self.end = end
        self.crc = crc
        self.head_bytes = 0
        """What it began with. Unknown (0) once the log was closed."""
        self._file = file
        self._tally = tally
        self._synced = end
        self._pending: list[bytes] = []

    def add(self, type: Type, payload: bytes) -> None:
        """Collect a record. Raises `ValueError` if it is too large."""
        data, self.crc = records.encode(
            type, payload, segment=self.number, offset=self.end, previous=self.crc, synced=self._synced
        )
        self._pending.append(data)
        self.end += len(data)

    def copy(self, data: bytes) -> None:
        """Begin with the bytes of older records, up to `end`."""
        self._pending.append(data)

    def flush(self) -> None:
        """Hand what was collected to the system. A crash of the machine may lose it."""
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._file.append(data)
            self._tally.bytes_written += len(data)

    def sync(self, durable: Callable[[], None] | None = None) -> None:
        """Make all durable, and then note that it is; `durable` is called in between."""
        self.finish()
        if durable is not None:
            durable()
        self.add(Type.SYNCED, b"")
        self.flush()

    def finish(self) -> None:
        """Make all durable; nothing will be added."""
        self.flush()
        self._file.datasync()
        self._tally.syncs += 1
        self._synced = self.end

    def close(self) -> None:
        self._file.close()


def begin(
    disk: Disk, number: int, head: Iterable[Part], *, previous: int, reserve_bytes: int, tally: Tally
) -> Appender:
    """A new segment with this head. It appears on the disk at one stroke, and durably."""
    parts = list(head)
    sizes = [records.METADATA_BYTES, *(len(payload) for _, payload in parts)]
    head_bytes = sum(sizes) + len(sizes) * records.HEADER_BYTES
    metadata = records.encode_metadata(Metadata(records.FORMAT_VERSION, head_bytes))
    temporary = name_of(number) + TEMPORARY
    appender = Appender(disk.create(temporary, reserve_bytes), number, end=0, crc=previous, tally=tally)
    for type, payload in [(Type.METADATA, metadata), *parts]:
        appender.add(type, payload)
    appender.head_bytes = head_bytes
    _publish(disk, appender, temporary)
    return appender


def resume(disk: Disk, last: Scan, more: Iterable[Part], *, reserve_bytes: int, tally: Tally) -> Appender:
    """Go on with the last segment of a log that was closed or killed: with a copy of what is sound in it, and `more`.

    A copy, since what was read may be in the system's memory alone, and not be written by any later sync: so it is
    after a sync that failed. And it cuts a torn tail at one stroke.
    """
    temporary = last.name + TEMPORARY
    appender = Appender(disk.create(temporary, reserve_bytes), last.number, end=last.end, crc=last.crc, tally=tally)
    appender.copy(last.data[: last.end])
    for type, payload in more:
        appender.add(type, payload)
    # Until all this is durable nobody sees it, so it may say of itself that it is.
    appender.add(Type.SYNCED, b"")
    _publish(disk, appender, temporary)
    return appender


def _publish(disk: Disk, appender: Appender, temporary: str) -> None:
    try:
        appender.finish()
        disk.rename(temporary, name_of(appender.number))
        disk.sync_directory()
    except BaseException:
        appender.close()
        raise
