"""The write-ahead log: what Raft must not forget, on one disk. Blocking, and for one thread at a time.

The guarantee: what `write` returned from is there after any crash; of what it did not return from, the records are
there up to some point in their order, and nothing else. Damage to what is durable is found when the log is opened,
and refused with its place. After a failed operation nothing more is done: the log is to be opened anew, by a new start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from leasekit.backends.raft.core.types import Recovered, Snapshot, Write
from leasekit.backends.raft.wal import records, segments, snapshots
from leasekit.backends.raft.wal.disk import Disk
from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull
from leasekit.backends.raft.wal.records import Marker, Type
from leasekit.backends.raft.wal.replay import BEGINNING, Replayed, recover, replay
from leasekit.backends.raft.wal.segments import TEMPORARY, Appender, Part, Scan, Tally

SEGMENT_BYTES = 8 * 2**20
"""A segment is ended before a write that would make it larger. A single larger write makes a larger segment."""


class Wal:
    """An open log. Made by `open`.

    Every method raises `DiskFull` or `DiskFailed` if the disk fails, and from then on at each call. Whether what failed
    is durable is then unknown until the log is opened anew: so stop the member.
    """

    def __init__(
        self, disk: Disk, replayed: Replayed, recovered: Recovered, marker: Marker, segment_bytes: int
    ) -> None:
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._tally = Tally()
        self._broken: BaseException | None = None
        self._hard_state = recovered.hard_state
        self._marker = marker
        self._snapshots = replayed.markers[: replayed.markers.index(marker) + 1]
        """Those whose files may still be of use, oldest first. The last one is `_marker`."""
        self._last_index = replayed.last_index
        self._first_index = replayed.entries[0].index if replayed.entries else marker.index + 1
        """From here on all entries are in the log. Earlier ones may be."""
        self._highest = replayed.highest
        """For each segment the highest index that it has an entry of, 0 if none."""
        if replayed.last is None:
            self._appender = self._begin(1, previous=0)
        else:
            self._appender = self._resume(replayed.last, clamped=recovered.hard_state != replayed.hard_state)

    @classmethod
    def open(cls, disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> tuple[Wal, Recovered]:
        """Read what is there, cut a torn tail, and be ready to write. What is returned is durable.

        Raises:
            Corrupt: damaged where it once was durable. Nothing was changed; see there what to do.
            ConfigError: written by a newer version, or the directory is used for something else.
            DiskFull, DiskFailed: the disk does not do what it should.
        """
        replayed = replay(disk)
        recovered, marker = recover(disk, replayed)
        _delete_leftovers(disk, replayed)
        return cls(disk, replayed, recovered, marker, segment_bytes), recovered

    @property
    def bytes_written(self) -> int:
        """Since `open`, by it too."""
        return self._tally.bytes_written

    @property
    def syncs(self) -> int:
        """How often data was made durable since `open`, by it too."""
        return self._tally.syncs

    @property
    def last_index(self) -> int:
        """Of the last entry, or of the snapshot if there is no entry behind it."""
        return self._last_index

    @property
    def segment_count(self) -> int:
        """How many files the log has; each is about `segment_bytes` long."""
        return len(self._highest)

    def write(self, write: Write) -> None:
        """Make `write` durable (or, if it need not be, only hand it to the system)."""
        self.write_all((write,))

    def write_all(self, writes: Sequence[Write], *, durable: Callable[[], None] | None = None) -> None:
        """Make `writes` durable in their order, with one sync for all of them.

        `durable` is called as soon as they are: before that is noted as well, which nobody has to wait for.
        """
        with self._working():
            for write in writes:
                self._add(write)
            if any(write.must_sync for write in writes):
                self._appender.sync(durable)
            else:
                self._appender.flush()
                if durable is not None:
                    durable()

    def compact(self, snapshot: Snapshot, keep_from_index: int | None = None) -> None:
        """Keep a snapshot of this member's own state machine, and delete segments that are needed no more.

        Entries from `keep_from_index` on stay, and all behind the snapshot in any case. A snapshot that is not newer
        than the newest one is ignored: a received one has overtaken it.
        """
        meta = snapshot.meta
        with self._working():
            if meta.index <= self._marker.index:
                return
            if meta.index > self._last_index:
                raise ValueError(f"a snapshot of index {meta.index} of a log that ends at {self._last_index}")
            self._save(snapshot, reset=False)
            keep_from = meta.index + 1 if keep_from_index is None else min(keep_from_index, meta.index + 1)
            self._delete_segments(keep_from)
            self._delete_snapshots()

    def close(self) -> None:
        """Let go of the files. What was not synced stays so. May be called again, and after a failure."""
        self._appender.close()
        self._broken = self._broken or DiskFailed("it was closed")

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        if self._broken is not None:
            kind = DiskFull if isinstance(self._broken, DiskFull) else DiskFailed
            raise kind(f"this log is used no more: {self._broken}") from self._broken
        try:
            yield
        except BaseException as error:
            # Never try again: after a failed sync the next one may succeed without having written anything (fsyncgate).
            self._broken = error
            raise

    def _add(self, write: Write) -> None:
        if write.snapshot is not None:
            self._save(write.snapshot, reset=True)
            self._delete_segments(self._last_index + 1)
            self._delete_snapshots()
        parts = self._parts(write)
        size = sum(records.HEADER_BYTES + len(payload) for _, payload in parts)
        if self._appender.end + size > self._segment_bytes and self._appender.end > self._appender.head_bytes:
            self._rotate()
        for type, payload in parts:
            self._appender.add(type, payload)
        if write.entries:
            self._last_index = write.entries[-1].index
            self._highest[self._appender.number] = max(self._highest[self._appender.number], self._last_index)
        if write.hard_state is not None:
            self._hard_state = write.hard_state

    def _parts(self, write: Write) -> list[Part]:
        if write.entries and not self._marker.index < write.entries[0].index <= self._last_index + 1:
            at = f"entry {write.entries[0].index} in a log from {self._marker.index + 1} to {self._last_index}"
            raise ValueError(at)
        for before, after in zip(write.entries, write.entries[1:], strict=False):
            if after.index != before.index + 1:
                raise ValueError(f"entry {after.index} behind entry {before.index}")
        parts = [(Type.ENTRY, records.encode_entry(entry)) for entry in write.entries]
        if write.hard_state is not None:
            parts.append((Type.HARD_STATE, records.encode_hard_state(write.hard_state)))
        return parts

    def _save(self, snapshot: Snapshot, *, reset: bool) -> None:
        """First the file, then the segment whose head names it: before that, nobody looks at the file."""
        index, term = snapshot.meta.index, snapshot.meta.term
        snapshots.save(self._disk, snapshot, self._tally)
        if reset:
            self._last_index = index
            self._first_index = index + 1
            self._highest = dict.fromkeys(self._highest, 0)
        self._marker = Marker(index, term, reset)
        self._rotate()
        # Only the one segment begins anew; later ones repeat that there is a snapshot.
        self._marker = Marker(index, term, reset=False)
        self._snapshots = [each for each in self._snapshots if each.index < index] + [self._marker]

    def _rotate(self) -> None:
        last = self._appender
        last.finish()
        self._appender = self._begin(last.number + 1, previous=last.crc)
        last.close()

    def _begin(self, number: int, *, previous: int) -> Appender:
        head: list[Part] = [(Type.HARD_STATE, records.encode_hard_state(self._hard_state))]
        if self._marker is not BEGINNING:
            head.insert(0, (Type.SNAPSHOT, records.encode_marker(self._marker)))
        self._highest[number] = 0
        return segments.begin(
            self._disk, number, head, previous=previous, reserve_bytes=self._segment_bytes, tally=self._tally
        )

    def _resume(self, last: Scan, *, clamped: bool) -> Appender:
        # A commit that was not there must not come true by entries that are written later.
        more = [(Type.HARD_STATE, records.encode_hard_state(self._hard_state))] if clamped else []
        return segments.resume(self._disk, last, more, reserve_bytes=self._segment_bytes, tally=self._tally)

    def _delete_segments(self, keep_from: int) -> None:
        """Oldest first, each durably: were one gone and an older one still there, the gap would look like damage."""
        for number in sorted(self._highest):
            if number == self._appender.number or self._highest[number] >= keep_from:
                return
            self._disk.delete(segments.name_of(number))
            self._disk.sync_directory()
            self._first_index = max(self._first_index, self._highest.pop(number) + 1)

    def _delete_snapshots(self) -> None:
        """All but the newest, and the one before it if the log goes back to it: it can stand in for a damaged one."""
        *older, newest = self._snapshots
        self._snapshots = [*(each for each in older[-1:] if each.index + 1 >= self._first_index), newest]
        useful = {snapshots.name_of(each.index, each.term) for each in self._snapshots}
        for name in filter(snapshots.is_snapshot, self._disk.list()):
            if name not in useful:
                self._disk.delete(name)


def _delete_leftovers(disk: Disk, replayed: Replayed) -> None:
    """Unfinished files, and snapshots that no marker names: of writes that a crash cut off, or deletions it undid."""
    named = {snapshots.name_of(each.index, each.term) for each in replayed.markers}
    for name in disk.list():
        finished = name.removesuffix(TEMPORARY)
        ours = snapshots.is_snapshot(finished) or segments.number_of(finished) is not None
        if ours and (name != finished or (snapshots.is_snapshot(name) and name not in named)):
            disk.delete(name)
