"""Faults happen to the requests that they were ordered for, and to no others."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from leasekit.backends.memory import MemoryStore
from leasekit.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Changed, Put, Resync
from leasekit.testing import Fault, FaultyStore, ManualClock, Plan, Request, random_faults, run_virtual


def scenario(test: Any) -> Any:
    """Run the test, a coroutine over a store and its clock, on virtual time."""

    def run() -> None:
        clock = ManualClock(raw_s=0)
        run_virtual(test(FaultyStore(MemoryStore(None, clock)), clock), clock)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def put(store: FaultyStore, key: str, value: bytes = b"") -> None:
    assert await store.transact([], [Put(key, value)], timeout_s=1) is not None


async def has(store: FaultyStore, key: str) -> bool:
    return await store.store.get(key, timeout_s=1) is not None


@scenario
async def test_without_orders_everything_passes(store: FaultyStore, clock: ManualClock) -> None:
    await put(store, "key", b"1")
    entry = await store.get("key", timeout_s=1)
    assert entry is not None and entry.value == b"1"


@scenario
async def test_requests_are_counted_by_kind(store: FaultyStore, clock: ManualClock) -> None:
    lease = await store.grant(5, timeout_s=1)
    await store.renew(lease.id, timeout_s=1)
    await put(store, "key")
    await store.get("key", timeout_s=1)
    await store.get("key", timeout_s=1)
    store.inject(Fault.refuse(), on="scan")
    with pytest.raises(StoreUnavailable):
        await store.scan("", timeout_s=1)
    assert store.requests == {"grant": 1, "renew": 1, "transact": 1, "get": 2, "scan": 1}


@scenario
async def test_a_fault_concerns_its_kind_once(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.refuse(), on="transact")
    await store.get("key", timeout_s=1)
    with pytest.raises(StoreUnavailable):
        await put(store, "key")
    await put(store, "key")


@scenario
async def test_a_fault_can_wait_for_a_later_request_and_repeat(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.refuse(), on="transact", skip=1, times=2)
    await put(store, "a")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await put(store, "b")
    await put(store, "c")


@scenario
async def test_a_fault_can_be_meant_for_one_request(store: FaultyStore, clock: ManualClock) -> None:
    def is_claim(request: Request) -> bool:
        return Absent("leader") in request.compares

    store.inject(Fault.lose_reply(), when=is_claim)
    await put(store, "candidate")
    with pytest.raises(OutcomeUnknown):
        await store.transact([Absent("leader")], [Put("leader", b"")], timeout_s=1)
    assert await has(store, "leader")


@scenario
async def test_a_lost_request_is_never_applied(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.lose_request())
    with pytest.raises(OutcomeUnknown):
        await put(store, "key")
    await asyncio.sleep(100)
    assert not await has(store, "key")


@scenario
async def test_a_lost_reply_leaves_it_applied(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.lose_reply())
    with pytest.raises(OutcomeUnknown):
        await put(store, "key")
    assert await has(store, "key")


@scenario
async def test_a_silent_loss_shows_only_at_the_time_out(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.lose_reply(silent=True))
    with pytest.raises(OutcomeUnknown):
        await store.transact([], [Put("key", b"")], timeout_s=7)
    assert clock.now().raw_s == pytest.approx(7)


@scenario
async def test_a_late_request_is_applied_after_it_was_given_up(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.apply_late(3))
    with pytest.raises(OutcomeUnknown):
        await put(store, "key")
    await asyncio.sleep(2.9)
    assert not await has(store, "key")
    await asyncio.sleep(0.2)
    assert await has(store, "key")


@scenario
async def test_a_late_reply_within_the_time_out_is_an_answer(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.delay_reply(3))
    assert await store.transact([], [Put("key", b"")], timeout_s=5) is not None
    assert clock.now().raw_s == pytest.approx(3)


@scenario
async def test_a_reply_after_the_time_out_is_none(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.delay_reply(3))
    with pytest.raises(OutcomeUnknown):
        await store.transact([], [Put("key", b"")], timeout_s=2)
    assert clock.now().raw_s == pytest.approx(2)
    assert await has(store, "key")


@scenario
async def test_a_lost_read_leaves_nothing_to_settle(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault.lose_reply())
    with pytest.raises(StoreUnavailable):
        await store.get("key", timeout_s=1)


@scenario
async def test_the_error_of_a_late_request_disturbs_nobody(store: FaultyStore, clock: ManualClock) -> None:
    lease = await store.grant(1, timeout_s=1)
    store.inject(Fault.apply_late(5), on="renew")
    with pytest.raises(OutcomeUnknown):
        await store.renew(lease.id, timeout_s=1)
    await store.settled()
    with pytest.raises(LeaseLost):
        await store.renew(lease.id, timeout_s=1)


@scenario
async def test_a_cancelled_sender_does_not_call_its_request_back(store: FaultyStore, clock: ManualClock) -> None:
    store.inject(Fault(request_delay_s=2))
    sending = asyncio.create_task(put(store, "key"))
    await asyncio.sleep(0.5)
    sending.cancel()
    await store.settled()
    assert sending.cancelled()
    assert await has(store, "key")


@scenario
async def test_a_store_that_is_down_refuses_until_it_comes_up(store: FaultyStore, clock: ManualClock) -> None:
    store.go_down()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await put(store, "key")
    store.come_up()
    await put(store, "key")


@scenario
async def test_a_store_that_is_silent_uses_the_time_up(store: FaultyStore, clock: ManualClock) -> None:
    store.go_down(silent=True)
    with pytest.raises(OutcomeUnknown):
        await store.transact([], [Put("key", b"")], timeout_s=4)
    with pytest.raises(StoreUnavailable):
        await store.get("key", timeout_s=4)
    assert clock.now().raw_s == pytest.approx(8)
    assert not await has(store, "key")


@scenario
async def test_a_stalled_watch_says_nothing_and_loses_nothing(store: FaultyStore, clock: ManualClock) -> None:
    watch = store.watch("key", after=0)
    store.stall_watches()
    waiting = asyncio.ensure_future(anext(watch))
    await put(store, "key")
    await asyncio.sleep(100)
    assert not waiting.done()
    store.resume_watches()
    event = await waiting
    assert isinstance(event, Changed) and event.key == "key"
    await store.aclose()


@scenario
async def test_a_dropped_watch_tells_each_change_once(store: FaultyStore, clock: ManualClock) -> None:
    watch = store.watch("k", prefix=True, after=0)
    assert await store.transact([], [Put("k1", b""), Put("k2", b"")], timeout_s=1) is not None
    first = await anext(watch)
    store.drop_watches()
    second = await anext(watch)
    await put(store, "k3")
    third = await anext(watch)
    assert [event.key for event in (first, second, third) if isinstance(event, Changed)] == ["k1", "k2", "k3"]
    await store.aclose()


@scenario
async def test_a_resynced_watch_misses_what_it_had_not_told(store: FaultyStore, clock: ManualClock) -> None:
    watch = store.watch("key", after=0)
    await put(store, "key", b"missed")
    store.resync_watches()
    event = await anext(watch)
    assert event == Resync((await store.scan("", timeout_s=1)).revision)
    await put(store, "key", b"told")
    change = await anext(watch)
    assert isinstance(change, Changed) and change.entry is not None and change.entry.value == b"told"
    await store.aclose()


@scenario
async def test_closing_ends_a_waiting_watch(store: FaultyStore, clock: ManualClock) -> None:
    async def drain() -> None:
        async for _ in store.watch("key", after=0):
            pass

    draining = asyncio.create_task(drain())
    await asyncio.sleep(1)
    await store.aclose()
    await draining


def test_random_faults_repeat_with_their_seed() -> None:
    def drawn(seed: int) -> list[Fault | None]:
        plan: Plan = random_faults(random.Random(seed), rate=0.5)
        return [plan(Request("get")) for _ in range(50)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert any(drawn(1)) and not all(drawn(1))
