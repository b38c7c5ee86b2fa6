"""The disk that can crash: it must lose what may be lost, and nothing else."""

from __future__ import annotations

from random import Random

import pytest

from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull
from leasekit.backends.raft.wal.memory_disk import MemoryDisk, MemoryFile


def do(disk: MemoryDisk, file: MemoryFile, step: str) -> None:
    {
        "append": lambda: file.append(b"0123456789"),
        "datasync": file.datasync,
        "rename": lambda: disk.rename("a", "b"),
        "delete": lambda: disk.delete("a"),
        "sync_directory": disk.sync_directory,
    }[step]()


def after_crashes(prepare: list[str], seeds: int = 300) -> set[tuple[str, bytes]]:
    """All that is found over many crashes, after these steps."""
    found = set()
    for seed in range(seeds):
        disk = MemoryDisk()
        file = disk.create("a")
        disk.sync_directory()
        for step in prepare:
            do(disk, file, step)
        disk.crash(Random(seed))
        found |= {(name, disk.read(name)) for name in disk.list()} or {("", b"")}
    return found


def test_what_was_not_synced_is_lost_kept_torn_or_garbled() -> None:
    found = {data for _, data in after_crashes(["append"])}
    assert {b"", b"0123456789", b"01234"} <= found
    assert any(len(data) == 10 and data != b"0123456789" for data in found)
    assert any(b"\0" in data for data in found)


def test_what_was_synced_stays_and_only_what_came_after_it_is_touched() -> None:
    assert after_crashes(["append", "datasync"]) == {("a", b"0123456789")}
    found = {data for _, data in after_crashes(["append", "datasync", "append"])}
    assert all(data.startswith(b"0123456789") for data in found)
    assert len(found) > 10


def test_a_name_may_go_back_until_the_directory_is_synced() -> None:
    assert {name for name, _ in after_crashes(["rename"])} == {"a", "b", ""}
    assert {name for name, _ in after_crashes(["rename", "sync_directory"])} == {"b"}
    assert {name for name, _ in after_crashes(["delete"])} == {"a", ""}
    assert {name for name, _ in after_crashes(["delete", "sync_directory"])} == {""}


def test_a_failed_sync_is_not_made_good_by_a_later_one() -> None:
    disk = MemoryDisk()
    file = disk.create("a")
    disk.sync_directory()
    file.append(b"data")
    disk.fail_next("datasync")
    with pytest.raises(DiskFailed):
        file.datasync()
    file.datasync()
    assert disk.read("a") == b"data"
    lost = 0
    for seed in range(20):
        disk = MemoryDisk()
        file = disk.create("a")
        disk.sync_directory()
        file.append(b"data")
        disk.fail_next("datasync")
        with pytest.raises(DiskFailed):
            file.datasync()
        file.datasync()
        disk.crash(Random(seed))
        lost += disk.read("a") != b"data"
    assert lost > 5


def test_a_crash_is_the_same_for_the_same_seed() -> None:
    assert after_crashes(["append", "rename"]) == after_crashes(["append", "rename"])


@pytest.mark.parametrize("crash", [False, True])
def test_a_file_is_of_no_use_after_a_crash_or_a_restart(crash: bool) -> None:
    disk = MemoryDisk()
    file = disk.create("a")
    if crash:
        disk.crash(Random(0))
    else:
        disk.restart()
    with pytest.raises(DiskFailed, match="not open"):
        file.append(b"x")
    with pytest.raises(DiskFailed, match="not open"):
        file.datasync()


def test_a_restart_loses_nothing() -> None:
    disk = MemoryDisk()
    disk.create("a").append(b"data")
    disk.restart()
    assert disk.read("a") == b"data"


def test_a_full_disk_takes_what_fits() -> None:
    disk = MemoryDisk(capacity_bytes=15)
    file = disk.create("a")
    file.append(b"0123456789")
    with pytest.raises(DiskFull):
        file.append(b"0123456789")
    assert disk.read("a") == b"012345678901234"
    with pytest.raises(DiskFull):
        disk.create("b", reserve_bytes=1)
    disk.delete("a")
    disk.create("c", reserve_bytes=15).append(bytes(15))


@pytest.mark.parametrize("operation", ["append", "datasync"])
def test_a_failure_is_injected_once_and_after_as_many_as_asked(operation: str) -> None:
    disk = MemoryDisk()
    file = disk.create("a")
    disk.fail_next(operation, DiskFull, skip=1)
    call = {"append": lambda: file.append(b"x"), "datasync": file.datasync}[operation]
    call()
    with pytest.raises(DiskFull):
        call()
    call()


def test_an_unknown_operation_cannot_fail() -> None:
    with pytest.raises(ValueError, match="wirte"):
        MemoryDisk().fail_next("wirte")
