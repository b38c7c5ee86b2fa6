"""Observing: the state now, the latest state at each change, to the end."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.errors import ConfigError, ProtocolError, StoreUnavailable
from leasekit.store import Put
from support.faulty import Faulty

LONG_S = 30.0


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    yield faulty
    faulty.store.close(timeout_s=1)


def token(leader: leasekit.Leader | None) -> int | None:
    return None if leader is None else leader.token


def test_each_observer_sees_the_present_and_then_each_change(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)
    observers = [election.observe() for _ in range(10)]
    assert [next(observer) for observer in observers] == [None] * 10
    leadership = election.campaign()
    assert [token(next(observer)) for observer in observers] == [leadership.token] * 10
    late = election.observe()
    assert token(next(late)) == leadership.token
    leadership.resign()
    assert [next(observer) for observer in (*observers, late)] == [None] * 11
    for observer in (*observers, late):
        observer.close()


def test_a_slow_observer_sees_the_latest_state_alone(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)
    with election.observe() as observer:
        assert next(observer) is None
        for _ in range(20):
            election.campaign().resign()
        last = election.campaign()
        seen: list[int | None] = []
        while not seen or seen[-1] != last.token:
            seen.append(token(next(observer)))
        assert len(seen) <= 3
        last.resign()


def test_what_comes_to_the_same_is_told_once(faulty: Faulty) -> None:
    """A change that is over before it is seen is none."""
    election = leasekit.Election("reports", faulty.store)
    with election.observe() as observer, election.campaign() as leadership:
        states = [next(observer)]
        while token(states[-1]) != leadership.token:
            states.append(next(observer))
        faulty.order("resync_watches")
        told: list[leasekit.Leader | None] = []
        waiting = threading.Thread(target=lambda: told.append(next(observer, None)))
        waiting.start()
        time.sleep(0.2)
        assert told == []
        observer.close()
        waiting.join(LONG_S)


def test_closing_ends_the_iteration_in_another_thread(faulty: Faulty) -> None:
    observer = leasekit.Election("reports", faulty.store).observe()
    seen: list[leasekit.Leader | None] = []
    iterating = threading.Thread(target=lambda: seen.extend(observer))
    iterating.start()
    while not seen:
        time.sleep(0.01)
    observer.close()
    iterating.join(LONG_S)
    assert not iterating.is_alive()
    assert seen == [None]
    assert list(observer) == []
    observer.close()


async def test_an_asynchronous_observer_closed_before_it_began_says_nothing(faulty: Faulty) -> None:
    observer = aio.Election("reports", aio.ConnectedStore(faulty.store.connection)).observe()
    await observer.close()
    assert [leader async for leader in observer] == []


async def test_an_asynchronous_observer_closed_while_it_begins_ends(faulty: Faulty) -> None:
    observer = aio.Election("reports", aio.ConnectedStore(faulty.store.connection)).observe()
    first = asyncio.ensure_future(anext(observer, "the end"))
    await asyncio.sleep(0)
    await observer.close()
    assert await first == "the end"


def test_an_observer_that_nobody_refers_to_stops_watching(faulty: Faulty) -> None:
    observer = leasekit.Election("reports", faulty.store).observe()
    assert next(observer) is None
    while not faulty.network._watches:
        time.sleep(0.01)
    del observer
    gc.collect()
    end = time.monotonic() + LONG_S
    while faulty.network._watches:
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_an_observer_cancelled_before_it_heard_that_it_began_stops_watching(faulty: Faulty) -> None:
    observer = aio.Election("reports", aio.ConnectedStore(faulty.store.connection)).observe()
    first = asyncio.ensure_future(anext(observer))
    await asyncio.sleep(0)
    end = time.monotonic() + LONG_S
    while not faulty.network._watches:  # without a turn of this loop, so that the answer is still on its way
        assert time.monotonic() < end
        time.sleep(0.01)  # noqa: ASYNC251
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    while faulty.network._watches:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_what_did_not_arrive_since_the_wait_for_it_was_cancelled_is_told_again(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)
    async with aio.Election("reports", aio.ConnectedStore(faulty.store.connection)).observe() as observer:
        assert await anext(observer) is None
        second = asyncio.ensure_future(anext(observer))
        await asyncio.sleep(0)
        leadership = election.campaign()
        assert observer._observation is not None
        end = time.monotonic() + LONG_S
        while observer._observation._told == (None,):  # likewise
            assert time.monotonic() < end
            time.sleep(0.01)  # noqa: ASYNC251
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        assert token(await asyncio.wait_for(anext(observer), LONG_S)) == leadership.token
        leadership.resign()


def test_it_goes_on_after_the_connection_broke(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)
    with leasekit.connect(faulty.store.url) as elsewhere, election.observe() as observer:
        assert next(observer) is None
        faulty.order("go_down")
        leadership = leasekit.Election("reports", elsewhere).campaign()
        faulty.order("drop_watches")
        faulty.order("come_up")
        assert token(next(observer)) == leadership.token
        leadership.resign()


def test_what_was_missed_is_read_again(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)
    with leasekit.connect(faulty.store.url) as elsewhere, election.observe() as observer:
        assert next(observer) is None
        faulty.order("stall_watches")
        leadership = leasekit.Election("reports", elsewhere).campaign()
        faulty.order("resync_watches")
        faulty.order("resume_watches")
        assert token(next(observer)) == leadership.token
        leadership.resign()


def test_a_store_that_does_not_answer_at_the_beginning_is_an_error(faulty: Faulty) -> None:
    faulty.order("go_down")
    with leasekit.Election("reports", faulty.store).observe() as observer, pytest.raises(StoreUnavailable):
        next(observer)


def test_a_record_that_no_leasekit_wrote_is_an_error(faulty: Faulty) -> None:
    election = leasekit.Election("reports", faulty.store)

    async def garble() -> None:
        await faulty.network.transact([], [Put("reports/leader", b"garbage")], timeout_s=1)

    engine.get().run(garble())
    with election.observe() as observer, pytest.raises(ProtocolError):
        next(observer)
    with pytest.raises(ProtocolError):
        election.leader()


async def test_to_observe_over_a_connection_that_was_closed_is_an_error(faulty: Faulty) -> None:
    election = aio.Election("reports", aio.ConnectedStore(faulty.store.connection))
    faulty.store.close()
    with pytest.raises(ConfigError, match="was closed"):
        await asyncio.wait_for(anext(election.observe()), LONG_S)
