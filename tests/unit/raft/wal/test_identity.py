"""A data directory is one member's, for ever."""

from __future__ import annotations

from random import Random

import pytest

from leasekit.backends.raft.wal.errors import Corrupt
from leasekit.backends.raft.wal.identity import NAME, Identity, claim, read
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from leasekit.errors import ConfigError

OURS = Identity("c1", "Bücher")


def test_an_empty_directory_becomes_the_members_durably() -> None:
    disk = MemoryDisk()
    assert read(disk) is None
    claim(disk, OURS)
    for seed in range(5):
        disk.crash(Random(seed))
        assert read(disk) == OURS
    claim(disk, OURS)


@pytest.mark.parametrize("other", [Identity("c2", "Bücher"), Identity("c1", "b")])
def test_another_member_is_refused(other: Identity) -> None:
    disk = MemoryDisk()
    claim(disk, OURS)
    before = disk.read(NAME)
    with pytest.raises(ConfigError, match="belongs to member 'Bücher' of cluster 'c1'"):
        claim(disk, other)
    assert disk.read(NAME) == before


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("operation", range(6))
def test_a_crash_while_claiming_leaves_it_ours_or_nobodys(seed: int, operation: int) -> None:
    disk = MemoryDisk()

    def hook(kind: str, name: str) -> None:
        if disk.operations > operation:
            raise KeyboardInterrupt

    disk.hook = hook
    with pytest.raises(KeyboardInterrupt):
        claim(disk, OURS)
    disk.hook = None
    disk.crash(Random(seed))
    assert read(disk) in (None, OURS)
    claim(disk, OURS)
    disk.crash(Random(seed))
    assert read(disk) == OURS


def test_every_flipped_bit_is_noticed() -> None:
    disk = MemoryDisk()
    claim(disk, OURS)
    for offset in range(len(disk.read(NAME))):
        disk.flip(NAME, offset, 4)
        with pytest.raises(Corrupt):
            read(disk)
        disk.flip(NAME, offset, 4)


def test_a_log_of_nobody_is_refused() -> None:
    disk = MemoryDisk()
    Wal.open(disk)
    with pytest.raises(Corrupt, match="missing"):
        claim(disk, OURS)
