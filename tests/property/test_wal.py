"""The log against a model of a few lines: whatever is done to it, and wherever it is cut off."""

from __future__ import annotations

import contextlib
import random

import pytest

from leasekit.backends.raft.core.types import Entry, HardState, Recovered, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.wal.errors import Corrupt, DiskFailed, DiskFull
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from leasekit.backends.raft.wal.records import HEADER_BYTES
from leasekit.backends.raft.wal.replay import recover, replay
from leasekit.backends.raft.wal.verify import examine
from support.wal_model import Compact, Script, Step, do, is_synced, last_index, stages

SEGMENT_BYTES = 700


class Crashed(Exception):
    """The power went off here."""


class History:
    """A log on a disk, and the states that it may be found in: the first is acknowledged, later ones may be there."""

    def __init__(self, seed: int, *, disk: MemoryDisk | None = None) -> None:
        self.rng = random.Random(seed)
        self.disk = disk or MemoryDisk()
        self.possible = [Recovered()]
        self.entries: dict[int, Entry] = {}
        """The latest ever written at each index."""

    def open(self) -> None:
        self.wal, found = Wal.open(self.disk, segment_bytes=SEGMENT_BYTES)
        assert found in self.possible
        self.possible = [found]
        self.script = Script(self.rng, found)

    def do(self, step: Step) -> None:
        self.possible += stages(self.possible[-1], step)
        for write in [] if isinstance(step, Compact) else step:
            self.entries |= {entry.index: entry for entry in write.entries}
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
    history.open()
    for _ in range(10):
        history.run(15)
        assert len([name for name in history.disk.list() if name.startswith("snapshot")]) <= 2
        history.wal.close()
        history.disk.restart()
        # Nothing is lost without a crash, not even what was not synced.
        del history.possible[:-1]
        history.open()


@pytest.mark.parametrize("seed", range(16))
def test_a_crash_between_any_two_disk_operations_loses_nothing_acknowledged(seed: int) -> None:
    whole = History(seed)
    whole.open_and_run(20)
    for operation in range(whole.disk.operations):
        history = History(seed)
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
        history.open_and_run(12)
        history.rng = random.Random(f"{seed} {operation}")
        history.crash()
        crash_at(history.disk, history.disk.operations + operation)
        with contextlib.suppress(Crashed):
            history.open()
        history.crash()
        history.open()
        history.run(3)


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_is_refused_or_harmless_but_never_believed(seed: int) -> None:
    history = History(seed)
    history.open_and_run(25)
    refused = 0
    for name in history.disk.list():
        size = len(history.disk.read(name).rstrip(b"\0"))
        for offset in history.rng.sample(range(size), min(size, 300)):
            mask = 1 << history.rng.randrange(8)
            history.disk.flip(name, offset, mask)
            refused += is_refused(history, name, offset)
            history.disk.flip(name, offset, mask)
    assert refused > 100


@pytest.mark.parametrize("seed", range(6))
def test_damage_to_any_byte_of_what_was_acknowledged_is_refused(seed: int) -> None:
    history = History(seed)
    history.open_and_run(25)
    history.do([Write(0, hard_state=HardState(term=99))])
    *older, last = [name for name in history.disk.list() if name.startswith("wal-")]
    sizes = {name: len(history.disk.read(name).rstrip(b"\0")) for name in older}
    # The end of the last one is the record that says so, of which nobody was told.
    sizes[last] = len(history.disk.read(last).rstrip(b"\0")) - HEADER_BYTES
    for name, size in sizes.items():
        for offset in range(size):
            history.disk.flip(name, offset)
            with pytest.raises(Corrupt):
                replay(history.disk)
            history.disk.flip(name, offset)


@pytest.mark.parametrize("error", [DiskFailed, DiskFull])
@pytest.mark.parametrize("seed", range(5))
def test_a_failed_operation_ends_the_log_and_a_new_start_finds_it_consistent(
    seed: int, error: type[DiskFailed]
) -> None:
    whole = History(seed)
    whole.open_and_run(15)
    for operation in range(whole.disk.operations):
        history = History(seed)
        fail_at(history.disk, operation, error)
        with pytest.raises(error, match="injected"):
            history.open_and_run(15)
        if hasattr(history, "wal"):
            with pytest.raises(error, match="used no more"):
                history.wal.write(Write(0, hard_state=HardState(term=99)))
            with pytest.raises(error, match="used no more"):
                history.wal.compact(Snapshot(SnapshotMeta(10**6, 1)))
            history.wal.close()
        history.disk.restart()
        history.open()
        # What a sync could not write is in memory yet, and must not be relied on as it is.
        history.rng = random.Random(f"{seed} {operation}")
        history.crash()
        history.open_and_run(3)


@pytest.mark.parametrize("seed", range(20))
def test_a_full_disk_loses_nothing_acknowledged(seed: int) -> None:
    rng = random.Random(seed)
    history = History(seed, disk=MemoryDisk(capacity_bytes=rng.randint(2_000, 8_000)))
    with pytest.raises(DiskFull):
        history.open_and_run(10_000)
    history.disk.restart()
    history.disk.capacity_bytes = None
    history.open()
    history.run(10)
    history.crash()
    history.open()


@pytest.mark.parametrize("seed", range(30))
def test_a_long_life_of_crashes_restarts_and_failures(seed: int) -> None:
    history = History(seed)
    rng = random.Random(seed)
    for _ in range(25):
        report = examine(history.disk, "")
        history.open()
        found = history.possible[0]
        if report.hard_state is not None:
            # The offline check sees what a start finds.
            assert (report.hard_state, report.snapshot, report.entries, report.last_index) == (
                *(found.hard_state, found.snapshot.meta),
                *(len(found.entries), last_index(found)),
            )
        assert not [name for name in history.disk.list() if name.endswith(".tmp")]
        end = rng.choice(["crash", "restart", "fail"])
        if end == "fail":
            history.disk.fail_next(
                rng.choice(["append", "datasync", "rename", "sync_directory"]), skip=rng.randrange(9)
            )
        with contextlib.suppress(DiskFailed):
            history.run(rng.randrange(20))
        history.wal.close()
        if end == "crash":
            history.crash()
        else:
            history.disk.restart()


def is_refused(history: History, damaged: str, offset: int) -> bool:
    """Whether the log is refused, and for this; or else is found as it should be."""
    try:
        found, _ = recover(history.disk, replay(history.disk))
    except Corrupt as damage:
        if damage.file != damaged or damage.offset > offset:
            pytest.fail(f"byte {offset} of {damaged} was flipped, and it says: {damage}")
        return True
    assert found in history.possible or stands_in(history, found, damaged)
    return False


def stands_in(history: History, found: Recovered, damaged: str) -> bool:
    """Whether an older snapshot took the place of a damaged one, with all the entries since."""
    newest = history.possible[0].snapshot.meta
    if not damaged.startswith("snapshot") or found.snapshot.meta.index >= newest.index:
        return False
    behind = range(found.snapshot.meta.index + 1, last_index(history.possible[-1]) + 1)
    return found.entries == tuple(history.entries[index] for index in behind)


def fail_at(disk: MemoryDisk, operation: int, error: type[DiskFailed]) -> None:
    """Let this one of all operations fail."""

    def hook(kind: str, name: str) -> None:
        if disk.operations == operation + 1:
            raise error(f"injected: {kind} {name}")

    disk.hook = hook
