"""What is the memory store's own: names, loops, clocks and its bounded log."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest

from leasekit.backends.memory import MemoryState, MemoryStore, open_store
from leasekit.errors import ConfigError, StoreUnavailable
from leasekit.store import Absent, Changed, Put, Resync
from leasekit.testing import ManualClock, run_virtual
from leasekit.urls import parse


def fresh_name() -> str:
    return uuid.uuid4().hex


async def test_handles_of_one_name_share_their_data() -> None:
    name = fresh_name()
    await MemoryStore(name).transact([], [Put("key", b"1")], timeout_s=1)
    entry = await open_store(parse(f"memory://{name}")).get("key", timeout_s=1)
    assert entry is not None and entry.value == b"1"


async def test_data_outlives_its_handles() -> None:
    name = fresh_name()
    first = MemoryStore(name)
    await first.transact([], [Put("key", b"1")], timeout_s=1)
    await first.aclose()
    assert await MemoryStore(name).get("key", timeout_s=1) is not None


async def test_without_a_name_each_handle_is_alone() -> None:
    first, second = open_store(parse("memory://")), open_store(parse("memory://"))
    await first.transact([], [Put("key", b"1")], timeout_s=1)
    assert await second.get("key", timeout_s=1) is None


async def test_the_path_is_the_prefix() -> None:
    name = fresh_name()
    await open_store(parse(f"memory://{name}/prod")).transact([], [Put("key", b"1")], timeout_s=1)
    assert await open_store(parse(f"memory://{name}")).get("key", timeout_s=1) is None
    assert await MemoryStore(name, prefix="prod").get("key", timeout_s=1) is not None


@pytest.mark.parametrize("url", ["memory://a,b", "memory://a?ca=x"])
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(parse(url))


async def test_a_change_in_another_thread_wakes_a_watch() -> None:
    name = fresh_name()
    watch = MemoryStore(name).watch("key", after=0)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)

    def elsewhere() -> None:
        asyncio.run(MemoryStore(name).transact([], [Put("key", b"1")], timeout_s=1))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    async with asyncio.timeout(30):
        event = await waiting
    thread.join()
    assert isinstance(event, Changed) and event.key == "key"
    await watch.aclose()


def test_threads_do_not_lose_each_others_writes() -> None:
    name = fresh_name()

    def claim(number: int) -> None:
        async def claims() -> None:
            store = MemoryStore(name)
            for round_number in range(50):
                await store.transact(
                    [Absent(f"leader/{round_number}")], [Put(f"leader/{round_number}", b"%d" % number)], timeout_s=1
                )

        asyncio.run(claims())

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = asyncio.run(MemoryStore(name).scan("leader/", timeout_s=1))
    assert len(snapshot.entries) == 50
    assert snapshot.revision == 50


def test_a_lease_expires_while_the_machine_sleeps() -> None:
    clock = ManualClock()

    async def scenario() -> None:
        store = MemoryStore(None, clock)
        lease = await store.grant(5, timeout_s=1)
        await store.transact([], [Put("key", b"1", lease.id)], timeout_s=1)
        clock.suspend(4.9)
        assert await store.get("key", timeout_s=1) is not None
        clock.suspend(0.1)
        assert await store.get("key", timeout_s=1) is None

    run_virtual(scenario(), clock)


def test_the_wall_clock_ends_no_lease() -> None:
    clock = ManualClock()

    async def scenario() -> None:
        store = MemoryStore(None, clock)
        lease = await store.grant(5, timeout_s=1)
        clock.step_wall(1_000_000)
        assert await store.renew(lease.id, timeout_s=1) == 5

    run_virtual(scenario(), clock)


def test_a_watch_wakes_at_the_moment_of_an_expiry() -> None:
    clock = ManualClock()

    async def scenario() -> None:
        store = MemoryStore(None, clock)
        watch = store.watch("key", after=0)
        lease = await store.grant(5, timeout_s=1)
        await store.transact([], [Put("key", b"1", lease.id)], timeout_s=1)
        await anext(watch)
        await asyncio.sleep(2)
        await store.renew(lease.id, timeout_s=1)
        gone = await anext(watch)
        assert isinstance(gone, Changed) and gone.entry is None
        assert clock.now().boot_s == pytest.approx(1000 + 2 + 5)
        await watch.aclose()

    run_virtual(scenario(), clock)


def test_a_watch_without_leases_sets_no_timer() -> None:
    clock = ManualClock()

    async def scenario() -> None:
        store = MemoryStore(None, clock)
        watch = store.watch("key", after=0)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await store.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting

    run_virtual(scenario(), clock)
    assert clock.now().boot_s == 1000


async def test_a_request_under_way_when_the_store_closes_fails() -> None:
    store = MemoryStore(None)
    request = asyncio.create_task(store.get("key", timeout_s=1))
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await request


def test_the_log_is_bounded_and_says_what_it_forgot() -> None:
    state = MemoryState(retained_changes=10)
    for n in range(100):
        state.transact([], [Put("key", b"%d" % n)], 0.0)
    assert state.changes("key", prefix=False, after=1) == Resync(100)
    recent = state.changes("key", prefix=False, after=95)
    assert not isinstance(recent, Resync)
    assert [change.revision for change in recent] == [96, 97, 98, 99, 100]


def test_leases_that_ran_out_end_in_the_order_of_their_ends() -> None:
    state = MemoryState()
    late, early = state.grant(5, 0.0), state.grant(2, 0.0)
    state.transact([], [Put("late", b"", late.id)], 0.0)
    state.transact([], [Put("early", b"", early.id)], 0.0)
    state.expire(10.0)
    changes = state.changes("", prefix=True, after=2)
    assert not isinstance(changes, Resync)
    assert [change.key for change in changes] == ["early", "late"]


def test_a_transaction_that_writes_a_key_twice_is_the_callers_bug() -> None:
    with pytest.raises(AssertionError, match="twice"):
        MemoryState().transact([], [Put("key", b"1"), Put("key", b"2")], 0.0)


def test_a_watch_from_the_future_is_told_to_look_again() -> None:
    assert MemoryState().changes("key", prefix=False, after=7) == Resync(0)
