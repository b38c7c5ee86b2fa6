"""Leases in a file, over suspends, reboots and time namespaces."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from leasekit.backends.sqlite import SqliteStore
from leasekit.clock import Boot, this_boot
from leasekit.errors import ConfigError, LeaseLost, OutcomeUnknown
from leasekit.store import Changed, Put
from leasekit.testing import ManualClock

LONG_S = 30.0
HERE = Boot("boot-1", "time:[1]")


@asynccontextmanager
async def opened(path: Path, clock: ManualClock, boot: Boot = HERE) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path / "leases.db", clock=clock, boot=boot)
    try:
        yield store
    finally:
        await store.aclose()


async def lead(store: SqliteStore, ttl_s: float = 10) -> str:
    """Bind `leader` to a new lease; returns its id."""
    lease = await store.grant(ttl_s, timeout_s=LONG_S)
    assert await store.transact([], [Put("leader", b"me", lease.id)], timeout_s=LONG_S) is not None
    return lease.id


async def test_a_lease_ends_at_its_moment_and_not_before(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store, opened(tmp_path, clock) as other:
        await lead(store)
        clock.advance(9.99)
        assert await other.get("leader", timeout_s=LONG_S) is not None
        clock.advance(0.01)
        assert await other.get("leader", timeout_s=LONG_S) is None


async def test_time_asleep_counts(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        lease_id = await lead(store)
        clock.suspend(10)
        with pytest.raises(LeaseLost):
            await store.renew(lease_id, timeout_s=LONG_S)


async def test_the_wall_clock_does_not_count(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        lease_id = await lead(store)
        clock.step_wall(1e6)
        assert await store.renew(lease_id, timeout_s=LONG_S) == 10


async def test_no_lease_outlives_its_boot(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(boot_s=5000)) as store:
        lease_id = await lead(store)
        await store.transact([], [Put("free", b"1")], timeout_s=LONG_S)
    # The clock begins anew, so that the old stamp looks as if it were far in the future.
    async with opened(tmp_path, ManualClock(boot_s=10), Boot("boot-2", HERE.time_namespace)) as store:
        assert await store.get("leader", timeout_s=LONG_S) is None
        assert await store.get("free", timeout_s=LONG_S) is not None
        with pytest.raises(LeaseLost):
            await store.renew(lease_id, timeout_s=LONG_S)
        again = await lead(store)
        assert await store.renew(again, timeout_s=LONG_S) == 10


async def test_revisions_go_on_rising_over_a_boot(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock()) as store:
        await lead(store)
        before = (await store.scan("", timeout_s=LONG_S)).revision
    async with opened(tmp_path, ManualClock(), Boot("boot-2", HERE.time_namespace)) as store:
        await lead(store)
        entry = await store.get("leader", timeout_s=LONG_S)
        assert entry is not None and entry.revision > before


async def test_leases_of_another_time_namespace_are_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    elsewhere = Boot(HERE.id, "time:[2]")
    async with opened(tmp_path, clock) as store, opened(tmp_path, clock, elsewhere) as stranger:
        lease_id = await lead(store)
        with pytest.raises(ConfigError, match="time namespace"):
            await stranger.get("leader", timeout_s=LONG_S)
        with pytest.raises(ConfigError, match="time namespace"):
            await stranger.grant(10, timeout_s=LONG_S)
        assert await store.renew(lease_id, timeout_s=LONG_S) == 10


async def test_a_file_without_leases_may_move_to_another_time_namespace(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        await store.revoke(await lead(store), timeout_s=LONG_S)
    async with opened(tmp_path, clock, Boot(HERE.id, "time:[2]")) as stranger:
        assert await stranger.renew(await lead(stranger), timeout_s=LONG_S) == 10


async def test_without_a_boot_id_a_lease_from_the_future_is_of_another_boot(tmp_path: Path) -> None:
    nameless = Boot("", "")
    async with opened(tmp_path, ManualClock(boot_s=5000), nameless) as store:
        await lead(store)
        assert await store.get("leader", timeout_s=LONG_S) is not None
    async with opened(tmp_path, ManualClock(boot_s=10), nameless) as store:
        assert await store.get("leader", timeout_s=LONG_S) is None


async def test_watches_of_every_handle_are_told_an_expiry_by_whoever_notices(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store, opened(tmp_path, clock) as other:
        await lead(store)
        after = (await store.scan("", timeout_s=LONG_S)).revision
        watches = [store.watch("leader", after=after), other.watch("lead", prefix=True, after=after)]
        waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        clock.advance(10)
        async with asyncio.timeout(LONG_S):
            told = await asyncio.gather(*waiting)
        assert told[0] == told[1] == Changed("leader", None, after + 1)


async def test_a_watch_does_not_wake_before_a_renewed_lease_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store, opened(tmp_path, clock) as other:
        lease_id = await lead(store)
        watch = other.watch("leader", after=(await store.scan("", timeout_s=LONG_S)).revision)
        waiting = asyncio.ensure_future(anext(watch))
        clock.advance(9)
        await store.renew(lease_id, timeout_s=LONG_S)
        clock.advance(9)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        clock.advance(1)
        async with asyncio.timeout(LONG_S):
            event = await waiting
        assert isinstance(event, Changed) and event.entry is None


def test_this_machine_tells_its_boot() -> None:
    assert this_boot() == this_boot()


async def test_a_look_whose_commit_failed_is_looked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        await lead(store)
        after = (await store.scan("", timeout_s=LONG_S)).revision
        watch = store.watch("leader", after=after)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        commit = store.database._commit
        failures: list[str] = []

        def fail_once(connection: sqlite3.Connection) -> None:
            if not failures:
                failures.append("failed")
                raise OutcomeUnknown("the disk failed")
            commit(connection)

        monkeypatch.setattr(store.database, "_commit", fail_once)
        clock.advance(10)
        async with asyncio.timeout(LONG_S):
            assert await waiting == Changed("leader", None, after + 1)
        assert failures
