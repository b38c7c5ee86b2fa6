"""The offline check: it says what is there, what is wrong, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from leasekit.backends.raft.core.types import Entry, EntryKind, HardState, Membership, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.wal import segments, snapshots
from leasekit.backends.raft.wal.disk import RealDisk
from leasekit.backends.raft.wal.identity import Identity, claim
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.verify import Report, verify
from leasekit.errors import ConfigError
from support.wal_model import entries

META = SnapshotMeta(20, 1, Membership(voters={"a": "h:1"}))
SEGMENT_BYTES = 600


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """As a member leaves it that was killed, with a commit that was not synced at the end."""
    disk = RealDisk(tmp_path)
    claim(disk, Identity("c", "a"))
    wal, _ = Wal.open(disk, segment_bytes=SEGMENT_BYTES)
    for index in range(1, 40):
        wal.write(Write(index, entries=entries(index, index + 1), hard_state=HardState(3, "a", index - 1)))
    wal.compact(Snapshot(META, b"state"))
    wal.write(Write(40, entries=entries(40, 42)))
    wal.write(Write(41, hard_state=HardState(3, "a", 40), must_sync=False))
    wal.close()
    disk.close()
    return tmp_path


def checked(directory: Path) -> Report:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    report = verify(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    return report


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_sound_directory_is_described(directory: Path) -> None:
    report = checked(directory)
    assert report.ok
    assert report.problems == ()
    assert report.identity == Identity("c", "a")
    assert report.hard_state == HardState(3, "a", 40)
    assert report.snapshot == META
    assert (report.first_index, report.last_index, report.entries, report.last_term) == (21, 41, 21, 1)
    assert report.torn_bytes == 0
    assert [each.meta for each in report.snapshots] == [META]
    names = [path.name for path in sorted(directory.glob("wal-*"))]
    assert [each.name for each in report.segments] == names
    assert report.segments[-1].last_index == 41
    assert all(each.used_bytes <= each.size_bytes and each.records > 1 for each in report.segments)


def test_it_may_be_run_while_the_directory_is_locked(directory: Path) -> None:
    disk = RealDisk(directory)
    assert verify(directory).ok
    disk.close()


def test_a_torn_tail_is_no_problem_and_counted(directory: Path) -> None:
    path = max(directory.glob("wal-*"))
    used = len(path.read_bytes().rstrip(b"\0"))
    flip(path, used - 1)
    report = checked(directory)
    assert report.ok
    assert report.torn_bytes > 20
    assert report.hard_state == HardState(3, "a", 38)


def test_damage_is_told_with_its_place(directory: Path) -> None:
    path = min(directory.glob("wal-*"))
    flip(path, 90)
    report = checked(directory)
    assert not report.ok
    assert len(report.problems) == 1
    assert path.name in report.problems[0] and "at byte" in report.problems[0]
    assert report.hard_state is None
    assert report.snapshot is None
    # What could be read is still told.
    assert len(report.segments) == len(list(directory.glob("wal-*")))
    assert len(report.snapshots) == 1


def test_a_segment_without_a_head_is_a_problem(directory: Path) -> None:
    path = max(directory.glob("wal-*"))
    flip(path, 0)
    report = checked(directory)
    assert not report.ok
    assert report.segments[-1].records == 0


def test_a_damaged_snapshot_is_a_problem(directory: Path) -> None:
    path = directory / snapshots.name_of(20, 1)
    flip(path, 30)
    report = checked(directory)
    assert not report.ok
    assert report.snapshots[0].meta is None
    assert "checksum" in str(report.snapshots[0].problem)


def test_a_damaged_identity_is_a_problem(directory: Path) -> None:
    flip(directory / "identity", 3)
    report = checked(directory)
    assert report.identity is None
    assert len(report.problems) == 1
    assert report.hard_state == HardState(3, "a", 40)


def test_leftovers_are_named(directory: Path) -> None:
    (directory / (segments.name_of(99) + ".tmp")).write_bytes(b"half")
    report = checked(directory)
    assert report.ok
    assert report.leftovers == (segments.name_of(99) + ".tmp",)


def test_terms_that_fall_are_a_problem(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    claim(disk, Identity("c", "a"))
    wal, _ = Wal.open(disk)
    wal.write(Write(1, entries=(Entry(1, 5, EntryKind.COMMAND, b""), Entry(2, 4, EntryKind.COMMAND, b""))))
    wal.close()
    disk.close()
    report = checked(tmp_path)
    assert report.problems == ("entry 2 has term 4, and entry 1 before it term 5",)


def test_an_empty_directory_is_no_members(tmp_path: Path) -> None:
    report = checked(tmp_path)
    assert not report.ok
    assert len(report.problems) == 2
    assert report.hard_state is None


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        verify(tmp_path / "nowhere")
