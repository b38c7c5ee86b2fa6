"""Real processes on one file: killed in the middle of writing, and contending."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from leasekit.backends.sqlite import SqliteStore
from leasekit.clock import SYSTEM_CLOCK
from leasekit.store import Absent, Changed, Put

PATIENCE_S = 30.0
WORDS = 4
"""So many transactions are acknowledged before a writer is killed."""

# Each transaction raises both counters, then tells on stdout that it was acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
from leasekit.backends.sqlite import SqliteStore
from leasekit.store import Absent, At, Put

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    lease = await store.grant(600, timeout_s=60)
    while True:
        entry = await store.get("count/a", timeout_s=60)
        count = int(entry.value) if entry else 0
        compare = At("count/a", entry.revision) if entry else Absent("count/a")
        value = b"%d" % (count + 1)
        ops = [Put("count/a", value), Put("count/b", value), Put("bound/" + lease.id, value, lease.id)]
        done = await store.transact([compare], ops, timeout_s=60)
        if done:
            print(count + 1, done.revision, flush=True)

asyncio.run(main())
"""

# Claims each key as soon as it is free, and says which it won.
CLAIMANT = """
import asyncio, sys
from pathlib import Path
from leasekit.backends.sqlite import SqliteStore
from leasekit.store import Absent, Put

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(100):
        claim = await store.transact([Absent(f"leader/{n}")], [Put(f"leader/{n}", sys.argv[2].encode())], timeout_s=60)
        if claim:
            print(n, claim.revision, flush=True)
    await store.aclose()

asyncio.run(main())
"""

# Takes a lease and a key on it, and says when it asked for the lease and the revision of the key.
LEADER = """
import asyncio, sys
from pathlib import Path
from leasekit.backends.sqlite import SqliteStore
from leasekit.clock import SYSTEM_CLOCK
from leasekit.store import Put

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    asked_s = SYSTEM_CLOCK.now().boot_s
    lease = await store.grant(float(sys.argv[2]), timeout_s=60)
    led = await store.transact([], [Put("leader", b"me", lease.id)], timeout_s=60)
    print(asked_s, led.revision, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
LEASE_S = 3.0


@contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(process: subprocess.Popen[str]) -> list[list[int]]:
    """The complete lines on its stdout."""
    assert process.stdout is not None
    return [
        [*map(int, line.split())] for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
    ]


def test_writers_killed_at_any_moment_leave_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    acknowledged: list[list[int]] = []
    for round_number in range(8):
        with running(WRITER, str(path)) as first, running(WRITER, str(path)) as second:
            # The first words come from living writers; then each round strikes at another moment.
            for writer in (first, second) * WORDS:
                assert writer.stdout is not None
                acknowledged.append([*map(int, writer.stdout.readline().split())])
            time.sleep(0.02 + 0.013 * round_number)
            for writer in (first, second):
                writer.send_signal(signal.SIGKILL)
            acknowledged += answers(first) + answers(second)
        count = asyncio.run(_check(path))
        assert count >= max(number for number, _ in acknowledged), "an acknowledged write is gone"
    numbers, revisions = zip(*acknowledged, strict=True)
    assert len(set(numbers)) == len(numbers), "two writers raised the counter to one value"
    assert len(set(revisions)) == len(revisions), "two transactions had one revision"
    assert len(acknowledged) > 50


async def _check(path: Path) -> int:
    """The counter, if all is consistent."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = SqliteStore(path)
    entries = {entry.key: entry for entry in (await store.scan("", timeout_s=PATIENCE_S)).entries}
    await store.aclose()
    assert entries["count/a"].value == entries["count/b"].value
    assert entries["count/a"].revision == entries["count/b"].revision
    assert all(entry.lease_id for key, entry in entries.items() if key.startswith("bound/"))
    return int(entries["count/a"].value)


def test_of_many_processes_exactly_one_wins_each_claim(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    won: list[list[int]] = []
    with (
        running(CLAIMANT, str(path), "0") as a,
        running(CLAIMANT, str(path), "1") as b,
        running(CLAIMANT, str(path), "2") as c,
        running(CLAIMANT, str(path), "3") as d,
    ):
        claimants = (a, b, c, d)
        for claimant in claimants:
            assert claimant.stdout is not None and claimant.stdout.readline() == "ready\n"
        for claimant in claimants:
            assert claimant.stdin is not None
            claimant.stdin.write("go\n")
            claimant.stdin.flush()
        for claimant in claimants:
            won += answers(claimant)
            assert claimant.wait() == 0
    assert sorted(number for number, _ in won) == list(range(100))
    assert len({revision for _, revision in won}) == 100


async def test_a_killed_processs_lease_runs_out(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    with running(LEADER, str(path), str(LEASE_S)) as leader:
        assert leader.stdout is not None
        asked_s, revision = (await asyncio.to_thread(leader.stdout.readline)).split()
        leader.kill()
        async with asyncio.timeout(PATIENCE_S):
            event = await anext(store.watch("leader", after=int(revision)))
    assert isinstance(event, Changed) and event.entry is None and event.revision > int(revision)
    assert SYSTEM_CLOCK.now().boot_s - float(asked_s) >= LEASE_S, "it did not outlive the process"
    assert await store.transact([Absent("leader")], [Put("leader", b"next")], timeout_s=PATIENCE_S) is not None
    await store.aclose()


async def test_a_change_in_another_process_is_noticed_soon(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    first = await store.transact([], [Put("count/a", b"0"), Put("count/b", b"0")], timeout_s=PATIENCE_S)
    assert first is not None
    watch = store.watch("count/a", after=first.revision)
    with running(WRITER, str(path)) as writer:
        async with asyncio.timeout(PATIENCE_S):
            event = await anext(watch)
        assert event.revision > first.revision
        writer.kill()
    await store.aclose()
