"""The log's own behaviour: how often it syncs, when it begins segments, what it deletes, what it refuses."""

from __future__ import annotations

from random import Random

import pytest

from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Recovered,
    Snapshot,
    SnapshotMeta,
    Write,
)
from leasekit.backends.raft.wal import records, snapshots
from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull
from leasekit.backends.raft.wal.log import SEGMENT_BYTES, Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from support.wal_model import an_entry, entries


def opened(disk: MemoryDisk, *, segment_bytes: int = 400) -> Wal:
    wal, _ = Wal.open(disk, segment_bytes=segment_bytes)
    return wal


def found(disk: MemoryDisk) -> Recovered:
    disk.crash(Random(1))
    _, recovered = Wal.open(disk, segment_bytes=400)
    return recovered


def snapshot(index: int, term: int = 1) -> Snapshot:
    membership = Membership(voters={"a": "h:1", "b": "h:2"}, learners={"ü": "[::1]:3"})
    return Snapshot(SnapshotMeta(index, term, membership), b"state at %d" % index)


def files(disk: MemoryDisk) -> set[str]:
    return set(disk.list())


def test_a_new_log_is_empty_and_durable() -> None:
    disk = MemoryDisk()
    wal, recovered = Wal.open(disk)
    assert recovered == Recovered()
    assert wal.last_index == 0
    assert found(disk) == Recovered()


def test_several_writes_are_made_durable_by_one_sync() -> None:
    disk = MemoryDisk()
    wal = opened(disk, segment_bytes=SEGMENT_BYTES)
    before = wal.syncs
    wal.write_all([Write(n, entries=entries(n, n + 1), hard_state=HardState(n, "a", n - 1)) for n in range(1, 6)])
    assert wal.syncs == before + 1
    assert wal.last_index == 5
    recovered = found(disk)
    assert recovered.entries == entries(1, 6)
    assert recovered.hard_state == HardState(5, "a", 4)


def test_a_write_that_need_not_be_synced_is_not() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 3), hard_state=HardState(1)))
    before = wal.syncs, wal.bytes_written
    wal.write(Write(2, hard_state=HardState(1, None, 2), must_sync=False))
    assert wal.syncs == before[0]
    assert wal.bytes_written > before[1]
    disk.restart()
    _, recovered = Wal.open(disk)
    assert recovered.hard_state.commit == 2


def test_later_entries_void_those_from_their_index_on() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 9, term=1)))
    wal.write(Write(2, entries=entries(4, 6, term=2)))
    assert wal.last_index == 5
    assert found(disk).entries == (*entries(1, 4, term=1), *entries(4, 6, term=2))


def test_all_entries_may_be_void() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 30, term=1)))
    wal.write(Write(2, entries=entries(1, 2, term=2)))
    assert found(disk).entries == entries(1, 2, term=2)


def test_a_segment_ends_before_it_grows_too_large() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    for index in range(1, 40):
        wal.write(Write(index, entries=entries(index, index + 1), hard_state=HardState(1, "a", index - 1)))
    assert wal.segment_count == len(disk.list()) > 5
    # The note of the last sync may stand beyond.
    assert all(len(disk.read(name)) <= 400 + records.HEADER_BYTES for name in disk.list())
    recovered = found(disk)
    assert recovered.entries == entries(1, 40)
    assert recovered.hard_state == HardState(1, "a", 38)


def test_hard_states_alone_fill_segments_too() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    for term in range(1, 50):
        wal.write(Write(term, hard_state=HardState(term, "a")))
    assert wal.segment_count > 3
    assert found(disk).hard_state == HardState(49, "a")


def test_a_write_larger_than_a_segment_is_one_segment() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    large = Entry(1, 1, EntryKind.COMMAND, bytes(5_000))
    wal.write(Write(1, entries=(large,)))
    wal.write(Write(2, entries=(an_entry(2),)))
    assert found(disk).entries == (large, an_entry(2))


def test_compaction_deletes_segments_and_keeps_what_is_behind_the_snapshot() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    for index in range(1, 40):
        wal.write(Write(index, entries=entries(index, index + 1), hard_state=HardState(7, "a", index)))
    wal.compact(snapshot(39))
    assert wal.segment_count == 1
    assert len(files(disk)) == 2
    assert wal.last_index == 39
    recovered = found(disk)
    assert recovered == Recovered(HardState(7, "a", 39), snapshot(39), ())


def test_compaction_keeps_the_entries_that_it_is_asked_to_keep() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    for index in range(1, 40):
        wal.write(Write(index, entries=entries(index, index + 1)))
    wal.compact(snapshot(20))
    kept = wal.segment_count
    wal.compact(snapshot(30), keep_from_index=21)
    assert wal.segment_count == kept + 1
    # The log goes back to the older snapshot, so it can stand in for the newer one.
    assert {snapshots.name_of(20, 1), snapshots.name_of(30, 1)} <= files(disk)
    wal.compact(snapshot(39))
    assert wal.segment_count == 1
    assert snapshots.name_of(30, 1) not in files(disk)
    assert found(disk).snapshot == snapshot(39)


def test_entries_behind_a_snapshot_stay_even_if_asked_otherwise() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 20)))
    wal.compact(snapshot(5), keep_from_index=15)
    assert found(disk).entries == entries(6, 20)


def test_a_snapshot_that_was_overtaken_is_ignored() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 9)))
    wal.write(Write(2, snapshot=snapshot(20)))
    before = files(disk)
    wal.compact(snapshot(8))
    wal.compact(snapshot(20, term=2))
    assert files(disk) == before
    assert found(disk).snapshot == snapshot(20)


def test_a_received_snapshot_replaces_the_log() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 30), hard_state=HardState(1, "a")))
    wal.write(Write(2, snapshot=snapshot(20, term=2), entries=entries(21, 23, term=2), hard_state=HardState(2)))
    assert wal.last_index == 22
    assert wal.segment_count == 1
    assert found(disk) == Recovered(HardState(2, None, 20), snapshot(20, term=2), entries(21, 23, term=2))


def test_segments_that_begin_after_a_received_snapshot_void_nothing() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, snapshot=snapshot(20)))
    for reopened in range(3):
        first = wal.last_index + 1
        for index in range(first, first + 20):
            wal.write(Write(index, entries=entries(index, index + 1)))
        wal.close()
        wal = opened(disk)
        assert wal.last_index == 40 + 20 * reopened
    assert found(disk).entries == entries(21, 81)


@pytest.mark.parametrize(
    "write",
    [
        Write(9, entries=entries(6, 7)),
        Write(9, entries=(an_entry(5), an_entry(7))),
        Write(9, entries=(Entry(5, 1, EntryKind.COMMAND, bytes(records.PAYLOAD_BYTES_MAX)),)),
    ],
    ids=["gap before", "gap within", "too large"],
)
def test_what_no_log_can_hold_is_refused_and_ends_it(write: Write) -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 5)))
    with pytest.raises(ValueError, match=r"entry|bytes"):
        wal.write(write)
    with pytest.raises(DiskFailed, match="used no more"):
        wal.write(Write(2, entries=entries(5, 6)))
    assert found(disk).entries == entries(1, 5)


def test_entries_within_a_snapshot_are_refused() -> None:
    wal = opened(MemoryDisk())
    wal.write(Write(1, snapshot=snapshot(20)))
    with pytest.raises(ValueError, match="entry 20"):
        wal.write(Write(2, entries=entries(20, 22)))


def test_a_snapshot_of_what_is_not_there_is_refused() -> None:
    wal = opened(MemoryDisk())
    wal.write(Write(1, entries=entries(1, 5)))
    with pytest.raises(ValueError, match="ends at 4"):
        wal.compact(snapshot(5))


@pytest.mark.parametrize("operation", ["append", "datasync"])
@pytest.mark.parametrize("error", [DiskFailed, DiskFull])
def test_after_a_failure_every_call_fails_in_the_same_way(operation: str, error: type[DiskFailed]) -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 5)))
    disk.fail_next(operation, error)
    with pytest.raises(error, match="injected"):
        wal.write(Write(2, entries=entries(5, 6)))
    operations = disk.operations
    for _ in range(2):
        with pytest.raises(error, match="used no more: injected"):
            wal.write(Write(3, entries=entries(5, 6)))
        with pytest.raises(error, match="used no more: injected"):
            wal.compact(snapshot(3))
    assert disk.operations == operations
    wal.close()
    assert found(disk).entries[:4] == entries(1, 5)


def test_what_a_failed_sync_left_in_memory_is_written_anew_before_it_is_relied_on() -> None:
    disk = MemoryDisk()
    wal = opened(disk)
    wal.write(Write(1, entries=entries(1, 5)))
    disk.fail_next("datasync")
    with pytest.raises(DiskFailed):
        wal.write(Write(2, entries=entries(5, 6)))
    # The process starts again, the machine does not: the entry is still there to be read, though not on the disk.
    disk.restart()
    _, recovered = Wal.open(disk)
    assert recovered.entries == entries(1, 6)
    for seed in range(20):
        disk.crash(Random(seed))
        _, recovered = Wal.open(disk)
        assert recovered.entries == entries(1, 6)


def test_a_closed_log_says_so() -> None:
    wal = opened(MemoryDisk())
    wal.close()
    wal.close()
    with pytest.raises(DiskFailed, match="closed"):
        wal.write(Write(1))
