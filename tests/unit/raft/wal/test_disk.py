"""The real disk: what it does to files, who may use it, and what its errors become."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leasekit.backends.raft.core.types import HardState, Membership, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.wal.disk import RealDisk
from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull
from leasekit.backends.raft.wal.log import Wal
from leasekit.errors import ConfigError
from support.wal_model import an_entry, entries

HOLD = """
import pathlib, sys
from leasekit.backends.raft.wal.disk import RealDisk
disk = RealDisk(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


WRITE = """
import itertools, pathlib, sys
from leasekit.backends.raft.core.types import Entry, EntryKind, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.wal.disk import RealDisk
from leasekit.backends.raft.wal.log import Wal
wal, _ = Wal.open(RealDisk(pathlib.Path(sys.argv[1])), segment_bytes=4096)
for index in itertools.count(1):
    entry = Entry(index, 1, EntryKind.COMMAND, f"entry {index} of term 1".encode())
    wal.write(Write(index, entries=(entry,)))
    sys.stdout.write(f"{index}\\n")
    sys.stdout.flush()
    if index % 30 == 0:
        wal.compact(Snapshot(SnapshotMeta(index, 1), b"state"))
"""


def test_files_are_written_read_renamed_and_deleted(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "data")
    file = disk.create("a")
    file.append(b"one ")
    file.append(b"two")
    file.datasync()
    file.close()
    file.close()
    assert disk.read("a") == b"one two"
    disk.rename("a", "b")
    disk.create("c").close()
    disk.sync_directory()
    assert disk.list() == ["b", "c"]
    disk.delete("b")
    assert disk.list() == ["c"]
    disk.close()


def test_reserved_space_reads_as_zeros(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("a", reserve_bytes=100)
    file.append(b"x")
    assert disk.read("a") == b"x" + bytes(99)
    file.close()
    disk.close()


def test_a_file_system_that_cannot_reserve_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    disk = RealDisk(tmp_path)
    wal, _ = Wal.open(disk)
    wal.write(Write(1, entries=entries(1, 3)))
    wal.close()
    _, found = Wal.open(disk)
    assert found.entries == entries(1, 3)
    disk.close()


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "deep" / "data")
    disk.create("a").close()
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep" / "data" / "a").stat().st_mode & 0o777 == 0o600
    disk.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files as Linux does")
def test_nothing_is_inherited_by_children(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("a")
    child = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True)
    assert "pipe:" in child.stdout
    assert str(tmp_path) not in child.stdout
    file.close()
    disk.close()


def test_a_directory_is_one_members_alone(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    with pytest.raises(ConfigError, match="in use by another member"):
        RealDisk(tmp_path)
    disk.close()
    disk.close()
    RealDisk(tmp_path).close()


def test_a_killed_member_lets_go_of_its_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            with pytest.raises(ConfigError, match="in use by another member"):
                RealDisk(tmp_path)
        finally:
            child.kill()
    RealDisk(tmp_path).close()


@pytest.mark.parametrize("acknowledged", [1, 50, 400])
def test_a_killed_member_finds_all_that_it_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE, tmp_path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if int(line) >= acknowledged:
                    break
        finally:
            child.kill()
        told = max([acknowledged, *map(int, child.stdout.read().split())])
    disk = RealDisk(tmp_path)
    wal, found = Wal.open(disk, segment_bytes=4096)
    assert told <= wal.last_index <= told + 1
    behind = range(found.snapshot.meta.index + 1, wal.last_index + 1)
    assert found.entries == tuple(an_entry(index) for index in behind)
    wal.close()
    disk.close()


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        RealDisk(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be used"):
        RealDisk(tmp_path / "file" / "below")


def test_what_is_not_there_or_there_already_is_an_error(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.create("a").close()
    for wrong in (
        lambda: disk.create("a"),
        lambda: disk.read("b"),
        lambda: disk.delete("b"),
        lambda: disk.rename("b", "c"),
    ):
        with pytest.raises(DiskFailed):
            wrong()
    disk.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, DiskFailed), (errno.EROFS, DiskFailed)],
)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_an_error_of_the_system_ends_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[DiskFailed]
) -> None:
    disk = RealDisk(tmp_path)
    wal, _ = Wal.open(disk)
    wal.write(Write(1, entries=entries(1, 3)))
    calls = []

    def fail(*arguments: object) -> int:
        calls.append(arguments)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DiskFailed) as caught:
            wal.write(Write(2, entries=entries(3, 4)))
        assert type(caught.value) is kind
    with pytest.raises(kind):
        wal.write(Write(2, entries=entries(3, 4)))
    assert len(calls) == 1
    wal.close()
    wal, found = Wal.open(disk)
    assert found.entries[:2] == entries(1, 3)
    wal.close()
    disk.close()


def test_a_write_that_the_system_cuts_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
    wal, _ = Wal.open(disk)
    wal.write(Write(1, entries=entries(1, 9)))
    wal.close()
    _, found = Wal.open(disk)
    assert found.entries == entries(1, 9)
    disk.close()


def test_a_log_on_a_real_disk_is_found_again(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    wal, _ = Wal.open(disk, segment_bytes=4096)
    for index in range(1, 300):
        wal.write(Write(index, entries=entries(index, index + 1), hard_state=HardState(2, "a", index - 1)))
    snapshot = Snapshot(SnapshotMeta(250, 1, Membership(voters={"a": "h:1"})), b"state")
    wal.compact(snapshot)
    wal.close()
    disk.close()
    disk = RealDisk(tmp_path)
    wal, found = Wal.open(disk, segment_bytes=4096)
    assert found.snapshot == snapshot
    assert found.entries == entries(251, 300)
    assert found.hard_state == HardState(2, "a", 298)
    wal.close()
    disk.close()
