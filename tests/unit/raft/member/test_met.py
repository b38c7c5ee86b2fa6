"""Whom a member has met is durable before anybody is told."""

from __future__ import annotations

from random import Random

import pytest

from leasekit.backends.raft.member.met import NAME, Met
from leasekit.backends.raft.wal.errors import Corrupt, DiskFailed
from leasekit.backends.raft.wal.memory_disk import MemoryDisk


def test_who_was_met_is_known_after_a_crash() -> None:
    disk = MemoryDisk()
    met = Met(disk)
    assert met.members == frozenset()
    met.add("m2")
    met.add("m3")
    disk.crash(Random(1))
    assert Met(disk).members == {"m2", "m3"}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("done", range(6))
def test_a_crash_in_between_forgets_nobody_from_before(done: int, seed: int) -> None:
    disk = MemoryDisk()
    met = Met(disk)
    met.add("m2")
    left = iter(range(done))

    def stop_after_some(operation: str, name: str) -> None:
        if next(left, None) is None:
            raise DiskFailed(f"cannot {operation} {name}: cut off")

    disk.hook = stop_after_some
    with pytest.raises(DiskFailed):
        met.add("m3")
    assert met.members == {"m2"}, "not before it is durable"
    disk.hook = None
    disk.crash(Random(seed))
    again = Met(disk)
    assert {"m2"} <= again.members <= {"m2", "m3"}
    again.add("m4")
    assert Met(disk).members == again.members


def test_a_file_that_makes_no_sense_is_damage() -> None:
    disk = MemoryDisk()
    file = disk.create(NAME)
    file.append(b"[")
    file.close()
    with pytest.raises(Corrupt, match=NAME):
        Met(disk)
