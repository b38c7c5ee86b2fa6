"""A leadership in the hands of its holder: valid by the clock, in the thread that asks; resigned when it is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.connection import Connection
from leasekit.errors import LeadershipLost, LossReason
from leasekit.store import Compare, Delete, Op
from leasekit.testing import Fault, ManualClock
from support.faulty import Faulty
from support.virtual import writes

TTL_S = 15.0
LONG_S = 30.0
PROMPTLY_S = 4.5
"""Less than the 5 s after which what hangs gives up by itself, and time for a machine that is busy."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def faulty(clock: ManualClock) -> Iterator[Faulty]:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}", clock=clock)
    yield faulty
    faulty.store.close(timeout_s=1)


# Valid by the clock.


def test_whether_it_is_valid_is_computed_where_it_is_asked(faulty: Faulty, clock: ManualClock) -> None:
    """While leasekit's own thread hangs, a flag that it sets would lie."""
    leadership = leasekit.Election("reports", faulty.store, ttl_s=TTL_S).campaign()
    hang = threading.Event()
    engine.get().call(hang.wait)
    try:
        assert leadership.valid
        clock.advance(TTL_S - 0.5)
        assert leadership.valid
        assert 0 < leadership.remaining_s < 0.5
        clock.advance(0.5)
        assert not leadership.valid
        assert leadership.reason is LossReason.DEADLINE
        with pytest.raises(LeadershipLost):
            leadership.check()
    finally:
        hang.set()


@pytest.mark.parametrize("move", ["suspend", "slew"])
def test_either_clock_ends_it(faulty: Faulty, clock: ManualClock, move: str) -> None:
    """A suspend shows on one clock only, and so does slewing."""
    leadership = leasekit.Election("reports", faulty.store, ttl_s=TTL_S).campaign()
    hang = threading.Event()
    engine.get().call(hang.wait)
    try:
        getattr(clock, move)(TTL_S)
        assert not leadership.valid
    finally:
        hang.set()


def test_a_step_of_the_wall_clock_means_nothing(faulty: Faulty, clock: ManualClock) -> None:
    leadership = leasekit.Election("reports", faulty.store, ttl_s=TTL_S).campaign()
    clock.step_wall(86_400)
    assert leadership.valid
    leadership.resign()


def test_what_was_over_once_stays_over(faulty: Faulty, clock: ManualClock) -> None:
    election = leasekit.Election("reports", faulty.store, ttl_s=TTL_S)
    leadership = election.campaign()
    clock.advance(TTL_S)
    assert not leadership.valid
    # The store counts by another clock: it still knows the lease, and renews it.
    again = election.campaign(timeout_s=10)
    assert again.valid
    assert again.token > leadership.token
    assert not leadership.valid
    assert leadership.reason is LossReason.DEADLINE
    again.resign()


def test_a_wait_ends_with_the_deadline_though_leasekit_s_thread_hangs(faulty: Faulty, clock: ManualClock) -> None:
    leadership = leasekit.Election("reports", faulty.store, ttl_s=TTL_S).campaign()
    hang = threading.Event()
    engine.get().call(hang.wait)
    try:
        reasons: list[LossReason | None] = []
        waiting = threading.Thread(target=lambda: reasons.append(leadership.wait_lost(3600)))
        waiting.start()
        clock.advance(TTL_S)
        waiting.join(LONG_S)
        assert reasons == [LossReason.DEADLINE]
    finally:
        hang.set()
        waiting.join()


async def test_an_asynchronous_wait_ends_with_the_deadline_too(faulty: Faulty, clock: ManualClock) -> None:
    store = aio.ConnectedStore(faulty.store.connection)
    leadership = await aio.Election("reports", store, ttl_s=TTL_S).campaign()
    hang = threading.Event()
    engine.get().call(hang.wait)
    try:
        waiting = asyncio.ensure_future(leadership.wait_lost(3600))
        await asyncio.sleep(0)
        clock.advance(TTL_S)
        assert await asyncio.wait_for(waiting, LONG_S) is LossReason.DEADLINE
    finally:
        hang.set()


def test_renewals_do_not_wait_for_busy_user_code() -> None:
    with (
        leasekit.connect(f"memory://{uuid.uuid4().hex}") as store,
        leasekit.Election("reports", store, ttl_s=6).campaign() as leadership,
    ):
        granted = leadership.tenure.deadline
        while leadership.tenure.deadline == granted:
            sum(range(1000))
        assert leadership.valid


async def test_renewals_do_not_wait_for_a_blocked_loop() -> None:
    async with (
        aio.connect(f"memory://{uuid.uuid4().hex}") as store,
        aio.Election("reports", store, ttl_s=6).campaign() as leadership,
    ):
        granted = leadership.tenure.deadline
        while leadership.tenure.deadline == granted:
            time.sleep(0.01)  # noqa: ASYNC251 (just what one should not do)
        assert leadership.valid


# Resigning.


def test_resigning_returns_in_time_though_the_store_hangs() -> None:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    leadership = leasekit.Election("reports", faulty.store).campaign()
    faulty.order("go_down", silent=True)
    began = time.monotonic()
    leadership.resign(timeout_s=0.3)
    assert time.monotonic() - began < PROMPTLY_S
    assert leadership.reason is LossReason.RESIGNED
    began = time.monotonic()
    faulty.store.close(timeout_s=0.5)
    assert time.monotonic() - began < PROMPTLY_S


@pytest.mark.parametrize("end", ["resign", "with"])
async def test_a_release_that_is_cancelled_while_it_begins_is_no_forgotten_leadership(end: str) -> None:
    async with aio.connect(f"memory://{uuid.uuid4().hex}") as store:

        async def lead(leadership: aio.Leadership) -> None:
            if end == "with":
                async with leadership:
                    return
            await leadership.resign()

        election = aio.Election("reports", store)
        hold = threading.Event()
        leading = asyncio.ensure_future(lead(await election.campaign()))
        engine.get().call(hold.wait, 10)
        await asyncio.sleep(0)
        leading.cancel()
        await asyncio.wait([leading])
        assert leading.cancelled()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del leading
            gc.collect()
        hold.set()
        assert warned == []
        end_s = time.monotonic() + LONG_S
        while await election.leader() is not None:
            assert time.monotonic() < end_s


def test_what_a_release_left_behind_is_removed_later() -> None:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    with leasekit.Election("others", faulty.store, ttl_s=6).campaign():
        election = leasekit.Election("reports", faulty.store, ttl_s=6)
        leadership = election.campaign()
        faulty.order("inject", fault=Fault.refuse(), on="transact", when=writes("reports/leader"), times=2)
        leadership.resign()
        assert election.leader() is not None
        end = time.monotonic() + LONG_S
        while election.leader() is not None:
            assert time.monotonic() < end
            time.sleep(0.02)
    faulty.store.close()


def test_belief_ends_before_the_release_is_sent() -> None:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    leadership = leasekit.Election("reports", faulty.store).campaign()
    believed: list[bool] = []
    transact = faulty.network.transact

    async def look(compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> object:
        if Delete("reports/leader") in ops:  # and not the line in the history
            believed.append(leadership.valid)
        return await transact(compares, ops, timeout_s=timeout_s)

    faulty.network.transact = look  # type: ignore[method-assign, assignment]
    leadership.resign()
    assert believed[:1] == [False]
    faulty.store.close()


def test_two_threads_that_resign_at_once_both_return() -> None:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as store:
        for _ in range(20):
            leadership = leasekit.Election("reports", store).campaign()
            threads = [threading.Thread(target=leadership.resign) for _ in range(4)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG_S)
            assert time.monotonic() - began < PROMPTLY_S


def test_leaving_with_in_another_context_still_resigns() -> None:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as store:
        leadership = leasekit.Election("reports", store).campaign()
        contextvars.copy_context().run(leadership.__enter__)
        leadership.__exit__(None, None, None)
        assert leadership.reason is LossReason.RESIGNED


# Dropped, interrupted.


def test_one_dropped_in_a_cycle_is_resigned_when_it_is_collected() -> None:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as store:
        election = leasekit.Election("cycle", store)
        leadership = election.campaign()
        token = leadership.token
        cycle: list[object] = [leadership]
        cycle.append(cycle)
        del leadership
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del cycle
            gc.collect()
        # What other tests left behind is collected as well.
        told = [str(warning.message) for warning in warned if "unreferenced" in str(warning.message)]
        assert len([text for text in told if "'cycle'" in text and f"token {token}" in text]) == 1, told
        while election.leader() is not None:
            time.sleep(0.01)


def test_one_is_resigned_also_where_warnings_are_errors() -> None:
    code = """
import leasekit, time
store = leasekit.connect("memory://")
election = leasekit.Election("reports", store)
election.campaign()
end = time.monotonic() + 10
while election.leader() is not None:
    assert time.monotonic() < end
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    assert "ResourceWarning: unreferenced" in ended.stderr


CAMPAIGNING = """
import leasekit, sys, time
store = leasekit.connect("memory://")
holder = leasekit.Election("reports", store, id="holder").campaign()
election = leasekit.Election("reports", store, id="waiting")
try:
    print("ready", flush=True)
    election.campaign()
except KeyboardInterrupt:
    end = time.monotonic() + 30
    while [c.id for c in election.candidates()] != ["holder"]:
        assert time.monotonic() < end
    print("withdrawn", flush=True)
    holder.resign()
    again = election.campaign(timeout_s=30)
    again.resign()
    print("and again", flush=True)
"""


def test_ctrl_c_withdraws_a_campaign() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CAMPAIGNING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # into the campaign; at whatever point of it the signal comes, the outcome is the same
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("withdrawn\nand again\n", "")


BOMBARDED = """
import leasekit, random, signal, threading, time
store = leasekit.connect("memory://")
election = leasekit.Election("reports", store, ttl_s=5)
main = threading.main_thread().ident
interrupted = 0
armed = False

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
rng = random.Random(1)
while interrupted < 100:
    timer = threading.Timer(rng.uniform(0, 0.004), signal.pthread_kill, [main, signal.SIGINT])
    try:
        armed = True
        timer.start()
        with election.campaign(timeout_s=30):
            pass
        armed = False
    except KeyboardInterrupt:
        interrupted += 1
    timer.join()
end = time.monotonic() + 30
while election.leader() is not None or election.candidates():
    assert time.monotonic() < end, election.leader()
"""


def test_interrupts_at_any_moment_leave_nobody_leading() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", BOMBARDED],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


async def test_cancelling_an_asynchronous_campaign_at_any_moment_leaves_nobody_leading() -> None:
    async with aio.connect(f"memory://{uuid.uuid4().hex}") as store:
        election = aio.Election("reports", store)

        async def campaign() -> aio.Leadership:
            return await election.campaign()

        for turns in range(60):
            campaigning = asyncio.ensure_future(campaign())
            for _ in range(turns % 6):
                await asyncio.sleep(0)
            await asyncio.sleep(turns * 0.00005)
            campaigning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await campaigning).resign()
        end = time.monotonic() + LONG_S
        while await election.leader() is not None or await election.candidates():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


# Many.


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_a_thousand_elections_cost_one_thread_and_one_lease(scheme: str, tmp_path: object) -> None:
    url = f"memory://{uuid.uuid4().hex}" if scheme == "memory" else f"sqlite:///{tmp_path}/leases.db"
    with leasekit.connect(url) as store:
        leasekit.Election("first", store, ttl_s=60).campaign().resign()
        threads = threading.active_count()
        began = time.monotonic()

        async def campaign_all() -> list[aio.Leadership]:
            place = aio.ConnectedStore(store.connection)
            elections = [aio.Election(f"election-{number}", place, ttl_s=60) for number in range(1000)]
            return list(await asyncio.gather(*(_leadership(election) for election in elections)))

        leaderships = asyncio.run(campaign_all())
        took_s = time.monotonic() - began
        assert all(leadership.valid for leadership in leaderships)
        assert len({leadership.token for leadership in leaderships}) == 1000
        assert len(store.connection._keepers) == 1
        assert threading.active_count() <= threads + 1
        assert took_s < 50
        began = time.monotonic()
    assert time.monotonic() - began < 50
    assert all(leadership.reason is LossReason.CLOSED for leadership in leaderships)


async def _leadership(election: aio.Election) -> aio.Leadership:
    return await election.campaign()


def test_two_elections_that_name_one_candidate_share_its_driver() -> None:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as store:
        one, same = (leasekit.Election("reports", store, id="a") for _ in range(2))
        with one.campaign() as leadership:
            with pytest.raises(leasekit.ConfigError, match="already"):
                same.try_campaign()
            with pytest.raises(leasekit.ConfigError, match="already"):
                same.campaign()
            assert leadership.valid
        with same.campaign():
            pass


def test_a_connection_knows_what_is_held_over_it() -> None:
    connection = Connection(f"memory://{uuid.uuid4().hex}")
    with leasekit.ConnectedStore(connection) as store:
        leadership = leasekit.Election("reports", store).campaign()
        assert [tenure.token for tenure in connection.tenures()] == [leadership.token]
        leadership.resign()
        assert connection.tenures() == []
