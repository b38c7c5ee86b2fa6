"""The log against a model of a few lines: whatever is done to it, and wherever it is cut off."""

from __future__ import annotations

import contextlib
import random

import pytest

from leasekit.backends.raft.core.types import Recovered
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from support.wal_model import Script, Step, do, is_synced, stages

SEGMENT_BYTES = 700


class Crashed(Exception):
    """The power went off here."""


class History:
    """A log on a disk, and the states that it may be found in: the first is acknowledged, later ones may be there."""

    def __init__(self, seed: int, *, capacity_bytes: int | None = None) -> None:
        self.rng = random.Random(seed)
        self.disk = MemoryDisk(capacity_bytes=capacity_bytes)
        self.possible = [Recovered()]
        self.open()

    def open(self) -> None:
        self.wal, found = Wal.open(self.disk, segment_bytes=SEGMENT_BYTES)
        assert found in self.possible
        self.possible = [found]
        self.script = Script(self.rng, found)

    def do(self, step: Step) -> None:
        self.possible += stages(self.possible[-1], step)
        do(self.wal, step)
        if is_synced(step):
            del self.possible[:-1]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.do(self.script.next())

    def open_and_run(self, steps: int) -> None:
        self.open()
        self.run(steps)

    def crash(self) -> None:
        self.disk.hook = None
        self.disk.crash(self.rng)


def crash_at(disk: MemoryDisk, operation: int) -> None:
    """Let the power go off before this one of all its operations."""

    def hook(kind: str, name: str) -> None:
        if disk.operations > operation:
            raise Crashed

    disk.hook = hook


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_is_found_again(seed: int) -> None:
    history = History(seed)
    for _ in range(10):
        history.run(15)
        history.wal.close()
        history.disk.restart()
        # Nothing is lost without a crash, not even what was not synced.
        del history.possible[:-1]
        history.open()


@pytest.mark.parametrize("seed", range(25))
def test_a_crash_between_any_two_disk_operations_loses_nothing_acknowledged(seed: int) -> None:
    whole = History(seed)
    whole.run(20)
    for operation in range(1, whole.disk.operations):
        history = History.__new__(History)
        history.rng, history.disk, history.possible = random.Random(seed), MemoryDisk(), [Recovered()]
        crash_at(history.disk, operation)
        with pytest.raises(Crashed):
            history.open_and_run(20)
        history.rng = random.Random(f"{seed} {operation}")
        history.crash()
        history.open()
        # What was found is durable by being found: some of it may have been told to others by now.
        history.crash()
        history.open()
        history.run(5)
        history.crash()
        history.open()


@pytest.mark.parametrize("seed", range(25))
def test_a_crash_within_recovery_loses_nothing_either(seed: int) -> None:
    for operation in range(1, 12):
        history = History(seed)
        history.run(12)
        history.rng = random.Random(f"{seed} {operation}")
        history.crash()
        crash_at(history.disk, history.disk.operations + operation)
        with contextlib.suppress(Crashed):
            history.open()
        history.crash()
        history.open()
        history.run(3)
