"""What opening a log does with what it finds: a torn tail is cut, damage is refused with its place."""

from __future__ import annotations

from random import Random

import pytest

from leasekit.backends.raft.core.types import Entry, EntryKind, HardState, Membership, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.wal import records, segments, snapshots
from leasekit.backends.raft.wal.errors import Corrupt, DiskFailed
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from leasekit.backends.raft.wal.records import HEADER_BYTES, Metadata, Type
from leasekit.backends.raft.wal.segments import Tally
from leasekit.errors import ConfigError
from support.wal_model import an_entry, entries

FIRST = segments.name_of(1)
COMMIT_ONLY = Write(0, hard_state=HardState(1, None, 2), must_sync=False)


def used(disk: MemoryDisk, name: str = FIRST) -> int:
    """How long the file is without the zeros set aside at its end."""
    return len(disk.read(name).rstrip(b"\0"))


def written(disk: MemoryDisk, *writes: Write, segment_bytes: int = 4096) -> None:
    wal, _ = Wal.open(disk, segment_bytes=segment_bytes)
    for write in writes:
        wal.write(write)
    wal.close()


def found_entries(disk: MemoryDisk) -> list[int]:
    _, found = Wal.open(disk, segment_bytes=4096)
    return [entry.index for entry in found.entries]


def snapshot(index: int, term: int = 1) -> Snapshot:
    return Snapshot(SnapshotMeta(index, term, Membership(voters={"a": "h:1"})), b"state")


def test_a_tail_that_nobody_was_told_of_is_cut() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 3)), COMMIT_ONLY)
    disk.flip(FIRST, used(disk) - 1)
    _, found = Wal.open(disk)
    assert [entry.index for entry in found.entries] == [1, 2]
    assert found.hard_state == HardState()


def test_the_cut_is_durable_and_the_log_goes_on_behind_it() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 3)), COMMIT_ONLY)
    disk.flip(FIRST, used(disk) - 1)
    wal, _ = Wal.open(disk)
    wal.write(Write(2, entries=entries(3, 5)))
    disk.crash(Random(0))
    assert found_entries(disk) == [1, 2, 3, 4]


def test_pages_of_one_unsynced_write_may_reach_the_disk_in_any_order() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 3)))
    before = used(disk)
    wal, _ = Wal.open(disk, segment_bytes=4096)
    disk.fail_next("datasync")
    with pytest.raises(Exception, match="injected"):
        wal.write(Write(2, entries=entries(3, 9)))
    # The first of the records is bad, and sound ones stand behind it: but none that says it ever was durable.
    disk.flip(FIRST, before + HEADER_BYTES * 2)
    assert found_entries(disk) == [1, 2]


def test_the_last_acknowledged_write_is_not_taken_for_a_torn_tail() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 3)))
    damaged = used(disk) - HEADER_BYTES - 1
    disk.flip(FIRST, damaged)
    with pytest.raises(Corrupt) as caught:
        Wal.open(disk)
    assert caught.value.file == FIRST
    assert caught.value.offset <= damaged
    assert "were durable" in caught.value.reason


def test_a_refused_log_is_left_as_it_is() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 30)), segment_bytes=300)
    disk.flip(FIRST, 60)
    before = {name: disk.read(name) for name in disk.list()}
    for _ in range(2):
        with pytest.raises(Corrupt):
            Wal.open(disk)
    assert {name: disk.read(name) for name in disk.list()} == before


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_missing_segment_is_refused(which: int) -> None:
    disk = MemoryDisk()
    written(disk, *(Write(n, entries=entries(n, n + 1)) for n in range(1, 30)), segment_bytes=300)
    name = disk.list()[which]
    disk.delete(name)
    with pytest.raises(Corrupt, match="missing") as caught:
        Wal.open(disk)
    assert caught.value.file == name


def test_segments_missing_behind_a_snapshot_are_noticed() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk, segment_bytes=300)
    wal.write(Write(1, entries=entries(1, 4)))
    wal.compact(snapshot(3))
    for index in range(4, 30):
        wal.write(Write(index, entries=entries(index, index + 1)))
    wal.close()
    first = next(name for name in disk.list() if name.startswith("wal"))
    disk.delete(first)
    with pytest.raises(Corrupt, match="does not have all entries from 4 to 29"):
        Wal.open(disk)


def test_records_missing_at_the_end_of_a_segment_that_is_not_the_last_are_noticed() -> None:
    disk = MemoryDisk()
    written(disk, *(Write(n, entries=entries(n, n + 1)) for n in range(1, 30)), segment_bytes=300)
    disk.cut(FIRST, used(disk) - HEADER_BYTES)
    with pytest.raises(Corrupt, match="records are missing") as caught:
        Wal.open(disk)
    assert caught.value.file == FIRST


def test_a_gap_in_the_entries_is_refused() -> None:
    disk = MemoryDisk()
    appender = segments.begin(disk, 1, [], previous=0, reserve_bytes=0, tally=Tally())
    for index in (1, 3):
        appender.add(Type.ENTRY, records.encode_entry(an_entry(index)))
    appender.sync()
    with pytest.raises(Corrupt, match="entry 3 follows entry 1"):
        Wal.open(disk)


def test_a_record_that_is_sound_and_not_of_the_chain_is_refused() -> None:
    disk = MemoryDisk()
    appender = segments.begin(disk, 1, [], previous=0, reserve_bytes=0, tally=Tally())
    appender.add(Type.ENTRY, records.encode_entry(an_entry(1)))
    appender.sync()
    appender.crc ^= 1
    appender.add(Type.ENTRY, records.encode_entry(an_entry(2)))
    appender.sync()
    with pytest.raises(Corrupt, match="not of this chain"):
        Wal.open(disk)


@pytest.mark.parametrize("payload", [b"", b"\0" * 16 + b"\xff"])
def test_a_sound_record_that_makes_no_sense_is_refused(payload: bytes) -> None:
    disk = MemoryDisk()
    appender = segments.begin(disk, 1, [], previous=0, reserve_bytes=0, tally=Tally())
    appender.add(Type.ENTRY, payload)
    appender.sync()
    with pytest.raises(Corrupt, match="makes no sense"):
        Wal.open(disk)


def test_a_log_of_a_newer_version_is_not_touched() -> None:
    disk = MemoryDisk()
    metadata = records.encode_metadata(Metadata(records.FORMAT_VERSION + 1, 0))
    data, _ = records.encode(Type.METADATA, metadata + b"new", segment=1, offset=0, previous=0, synced=0)
    disk.create(FIRST).append(data)
    with pytest.raises(ConfigError, match="format version 2"):
        Wal.open(disk)
    assert disk.read(FIRST) == data


def test_a_commit_beyond_the_log_is_clamped_and_does_not_come_true_later() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 4), hard_state=HardState(1, "a", 9)))
    wal, found = Wal.open(disk, segment_bytes=4096)
    assert found.hard_state == HardState(1, "a", 3)
    wal.write(Write(2, entries=entries(4, 12)))
    wal.close()
    _, found = Wal.open(disk, segment_bytes=4096)
    assert found.hard_state.commit == 3


def test_a_snapshot_is_of_committed_entries() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, snapshot=snapshot(7, term=2)))
    _, found = Wal.open(disk)
    assert found.snapshot == snapshot(7, term=2)
    assert found.entries == ()
    assert found.hard_state.commit == 7


def test_a_damaged_snapshot_is_refused_if_the_log_begins_behind_it() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, snapshot=snapshot(7)), Write(2, entries=entries(8, 10)))
    disk.flip(snapshots.name_of(7, 1), 40)
    with pytest.raises(Corrupt) as caught:
        Wal.open(disk)
    assert caught.value.file == snapshots.name_of(7, 1)


def test_a_missing_snapshot_is_refused_if_the_log_begins_behind_it() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, snapshot=snapshot(7)))
    disk.delete(snapshots.name_of(7, 1))
    with pytest.raises(Corrupt, match="missing"):
        Wal.open(disk)


def test_an_older_snapshot_stands_in_for_a_damaged_one_if_the_log_goes_back_to_it() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk)
    wal.write(Write(1, entries=entries(1, 9)))
    wal.compact(snapshot(3))
    wal.write(Write(2, entries=entries(9, 12)))
    wal.compact(snapshot(8), keep_from_index=4)
    wal.close()
    disk.flip(snapshots.name_of(8, 1), 40)
    wal, found = Wal.open(disk)
    assert found.snapshot == snapshot(3)
    assert [entry.index for entry in found.entries] == list(range(4, 12))
    assert found.hard_state.commit == 8
    wal.compact(snapshot(10))
    wal.close()
    _, found = Wal.open(disk)
    assert found.snapshot == snapshot(10)


def test_an_older_snapshot_does_not_stand_in_if_the_entries_behind_it_are_gone() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk, segment_bytes=500)
    wal.write(Write(1, entries=entries(1, 4)))
    wal.compact(snapshot(3))
    wal.write(Write(2, entries=entries(4, 9)))
    begun = wal.segment_count
    while wal.segment_count == begun:
        wal.write(Write(3, hard_state=HardState(2)))
    # The segment that has the entries is deleted, the one behind it, which still names the older snapshot, is not.
    disk.fail_next("delete", skip=1)
    with pytest.raises(DiskFailed):
        wal.compact(snapshot(8))
    disk.restart()
    assert {snapshots.name_of(3, 1), segments.name_of(3)} <= set(disk.list())
    assert Wal.open(disk)[1].snapshot == snapshot(8)
    disk.flip(snapshots.name_of(8, 1), 40)
    with pytest.raises(Corrupt) as caught:
        Wal.open(disk)
    assert caught.value.file == snapshots.name_of(8, 1)


def test_the_empty_state_stands_in_only_if_no_snapshot_was_ever_received() -> None:
    disk = MemoryDisk()
    wal, _ = Wal.open(disk)
    wal.write(Write(1, snapshot=snapshot(0, term=0)))
    wal.write(Write(2, entries=entries(1, 4)))
    wal.compact(snapshot(2), keep_from_index=1)
    wal.close()
    disk.flip(snapshots.name_of(2, 1), 40)
    _, found = Wal.open(disk)
    assert found.snapshot == snapshot(0, term=0)
    disk.flip(snapshots.name_of(0, 0), 40)
    with pytest.raises(Corrupt):
        Wal.open(disk)


def test_a_snapshot_without_a_log_is_refused() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, snapshot=snapshot(7)))
    for name in disk.list():
        if name.startswith("wal"):
            disk.delete(name)
    with pytest.raises(Corrupt, match="log is missing"):
        Wal.open(disk)


def test_unfinished_files_and_unnamed_snapshots_are_deleted_and_other_files_are_not() -> None:
    disk = MemoryDisk()
    written(disk, Write(1, entries=entries(1, 3)))
    before = disk.list()
    snapshots.save(disk, snapshot(2), Tally())
    for name in (segments.name_of(2) + ".tmp", snapshots.name_of(9, 9) + ".tmp", "notes.txt", "mine.tmp"):
        disk.create(name)
    assert found_entries(disk) == [1, 2]
    assert disk.list() == sorted([*before, "notes.txt", "mine.tmp"])


def test_an_entrys_data_that_looks_like_a_record_is_only_data() -> None:
    disk = MemoryDisk()
    inner, _ = records.encode(Type.SYNCED, b"", segment=1, offset=0, previous=0, synced=10**6)
    written(disk, Write(1, entries=(Entry(1, 1, EntryKind.COMMAND, inner * 20),)), COMMIT_ONLY)
    disk.flip(FIRST, used(disk) - 1)
    assert found_entries(disk) == [1]
