"""News of elections reach whoever listens, and no listener harms an election."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import leasekit
from leasekit.errors import LossReason
from leasekit.fencing.contract import Rule
from leasekit.observability import Elected, Ended, Event, Outcome, Refused, Renewal, StoreBack, StoreFailing, hub, logs
from leasekit.observability.hub import HUB, Hub, Relay, subscribe
from leasekit.observability.store_news import StoreNews
from support.virtual import ELECTION, TTL_S, World, virtual

PATIENCE_S = 30.0


def refused(number: int) -> Refused:
    return Refused("table", "reports", number, 100)


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """What happens in this process during the test."""
    heard: list[Event] = []
    stop = subscribe(heard.append)
    yield heard
    stop()


def heard(told: list[Event], *kinds: type[Event]) -> list[Any]:
    """The events of these kinds. What earlier tests left running may be told of as well, so only by what names a test."""
    assert HUB.flush(PATIENCE_S)
    return [event for event in told if isinstance(event, kinds)]


def refusals(told: list[Event]) -> list[Event]:
    """Those made up by `refused`."""
    return [event for event in told if isinstance(event, Refused) and event.resource == "table"]


def leaderships(told: list[Event]) -> list[Elected | Ended]:
    """Of the candidates `a` and `b`."""
    return [event for event in heard(told, Elected, Ended) if event.election == ELECTION and event.id in ("a", "b")]


# What is told.


@virtual
async def test_a_leadership_is_told_of_from_its_beginning_to_its_end(world: World, told: list[Event]) -> None:
    elector, tenure = await world.process().leader("a")
    await world.pass_time(20)
    await elector.resign(tenure, timeout_s=5)
    began, ended = leaderships(told)
    assert isinstance(began, Elected) and isinstance(ended, Ended)
    assert (began.election, began.id, began.token) == (ELECTION, "a", tenure.token)
    assert began.store.startswith("memory://")
    assert (ended.election, ended.id, ended.token) == (ELECTION, "a", tenure.token)
    assert ended.reason is LossReason.RESIGNED
    assert ended.lasted_s == pytest.approx(20, abs=0.1)
    assert ended.wall_s - began.wall_s == pytest.approx(20, abs=0.1)


@virtual
async def test_a_leadership_that_its_deadline_ends_is_told_to_be_lost(world: World, told: list[Event]) -> None:
    process = world.process()
    await process.leader("a")
    process.network.go_down()
    await world.pass_time(2 * TTL_S)
    _, ended = leaderships(told)
    assert isinstance(ended, Ended)
    assert ended.reason is LossReason.DEADLINE
    assert ended.lasted_s < TTL_S


@virtual
async def test_a_transfer_is_told_on_both_sides(world: World, told: list[Event]) -> None:
    elector, tenure = await world.process().leader("a")
    other = world.process().candidate("b")
    waiting = asyncio.create_task(other.campaign(once=False, timeout_s=None))
    await world.pass_time(1)
    await elector.transfer(tenure, "b", timeout_s=5)
    successor = await waiting
    assert successor is not None
    assert [(type(event), event.id, getattr(event, "reason", None)) for event in leaderships(told)] == [
        (Elected, "a", None),
        (Ended, "a", LossReason.TRANSFERRED),
        (Elected, "b", None),
    ]


@virtual
async def test_each_attempt_at_a_renewal_is_told_with_its_outcome(world: World, told: list[Event]) -> None:
    process = world.process()
    process.keeper._news = StoreNews("teststore://h1", world.clock)
    await process.leader("a")
    await world.pass_time(TTL_S + 1)
    renewals = [event for event in heard(told, Renewal) if event.scheme == "teststore"]
    assert [event.outcome for event in renewals] == [Outcome.RENEWED] * 3
    process.network.go_down(silent=True)
    await world.pass_time(TTL_S)
    failed = [event for event in heard(told, Renewal) if event.scheme == "teststore"][3:]
    assert len(failed) >= 3
    assert {event.outcome for event in failed} == {Outcome.UNANSWERED}
    # An attempt takes a sixth of the ttl at the most.
    assert max(event.took_s for event in failed) == pytest.approx(TTL_S / 6, abs=0.1)


@virtual
async def test_a_store_that_fails_is_told_once_and_its_return_as_well(world: World, told: list[Event]) -> None:
    process = world.process()
    await process.leader("a")
    process.network.go_down()
    await world.pass_time(8)
    process.network.come_up()
    await world.pass_time(TTL_S)
    failing, back = [event for event in heard(told, StoreFailing, StoreBack) if event.store == process.network.url]
    assert isinstance(failing, StoreFailing) and isinstance(back, StoreBack)
    assert (failing.renewing, failing.error) == (True, "StoreUnavailable")
    assert 0 < back.after_s < TTL_S


@virtual
async def test_a_lease_that_cannot_be_granted_is_told_as_a_store_that_fails(world: World, told: list[Event]) -> None:
    process = world.process()
    process.network.go_down()
    with pytest.raises(leasekit.NotElected):
        await process.candidate("a").campaign(once=False, timeout_s=10)
    (failing,) = [event for event in heard(told, StoreFailing) if event.store == process.network.url]
    assert not failing.renewing


@virtual
async def test_a_lease_that_the_store_does_not_know_is_told_as_lost(world: World, told: list[Event]) -> None:
    process = world.process()
    await process.leader("a")
    assert process.keeper.belief.lease_id is not None
    await world.store.revoke(process.keeper.belief.lease_id, timeout_s=1)
    # The watch of `leader` may be told first; the renewal is what tells of the lease.
    await world.pass_time(TTL_S)
    reasons = [event.reason for event in leaderships(told) if isinstance(event, Ended)]
    assert reasons in ([LossReason.REVOKED], [LossReason.SUPERSEDED])


def test_a_refusal_is_told(told: list[Event]) -> None:
    error = Rule.of("told-table", "reports").refusal(3, 9)
    assert (error.token, error.highest, error.resource) == (3, 9, "told-table")
    assert [event for event in heard(told, Refused) if event.resource == "told-table"] == [
        Refused("told-table", "reports", 3, 9)
    ]


# Who listens.


def test_a_listener_that_blocks_holds_up_neither_the_teller_nor_another() -> None:
    released, heard = threading.Event(), queue.SimpleQueue[Event]()
    news = Hub()
    news.add(Relay(lambda _: released.wait(PATIENCE_S)))
    news.add(Relay(heard.put))
    began = time.monotonic()
    for number in range(100):
        news.tell(refused(number))
    assert time.monotonic() - began < PATIENCE_S / 2
    assert [heard.get(timeout=PATIENCE_S) for _ in range(100)] == [refused(number) for number in range(100)]
    assert not news.flush(0.05)
    released.set()
    assert news.flush(PATIENCE_S)


def test_a_leadership_is_renewed_while_a_listener_blocks_and_another_raises() -> None:
    released, seen = threading.Event(), threading.Event()

    def block(_: Event) -> None:
        seen.set()
        released.wait(PATIENCE_S)

    def fail(_: Event) -> None:
        raise RuntimeError("no good")

    stops = [subscribe(block), subscribe(fail)]
    try:
        with leasekit.connect("memory://") as store:
            election = leasekit.Election("reports", store=store, ttl_s=6)
            with election.campaign(timeout_s=PATIENCE_S) as leadership:
                assert seen.wait(PATIENCE_S)
                before = leadership.tenure.deadline
                while leadership.tenure.deadline == before:
                    time.sleep(0.01)
                assert leadership.valid
    finally:
        released.set()
        for stop in stops:
            stop()


def test_a_listener_that_raises_hears_the_next_event_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def fail_at_first(event: Event) -> None:
        heard.append(event)
        if len(heard) <= 3:
            raise RuntimeError("no good")

    relay = Relay(fail_at_first)
    for number in range(5):
        relay.put(refused(number))
    assert relay.flush(PATIENCE_S)
    assert heard == [refused(number) for number in range(5)]
    assert [record.exc_info is not None for record in caplog.records if "listener" in record.getMessage()] == [True]


def test_what_a_listener_misses_is_counted(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_WAITING", 3)
    heard: list[Event] = []
    entered, released = threading.Event(), threading.Event()

    def slow(event: Event) -> None:
        heard.append(event)
        entered.set()
        released.wait(PATIENCE_S)

    relay = Relay(slow)
    relay.put(refused(0))
    assert entered.wait(PATIENCE_S)
    for number in range(1, 10):
        relay.put(refused(number))
    released.set()
    assert relay.flush(PATIENCE_S)
    assert heard == [refused(number) for number in range(4)]
    assert [record.getMessage() for record in caplog.records if "listener" in record.getMessage()] == [
        "a listener did not keep up with what happens in elections: it missed 6 events"
    ]


def test_who_has_left_is_told_no_more() -> None:
    told: list[Event] = []
    stop = subscribe(told.append)
    HUB.tell(refused(1))
    assert HUB.flush(PATIENCE_S)
    stop()
    stop()
    HUB.tell(refused(2))
    assert HUB.flush(PATIENCE_S)
    assert refusals(told) == [refused(1)]


def test_many_threads_that_tell_at_first_start_one_thread() -> None:
    heard: list[Event] = []
    relay, start = Relay(heard.append), threading.Barrier(8)

    def tell(number: int) -> None:
        start.wait(PATIENCE_S)
        relay.put(refused(number))

    tellers = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert relay.flush(PATIENCE_S)
    assert len(heard) == 8
    listening = [thread for thread in threading.enumerate() if getattr(thread, "_target", None) == relay._run]
    assert len(listening) == 1


def test_where_the_system_has_no_thread_to_spare_the_next_event_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    relay = Relay(heard.append)
    with monkeypatch.context() as exhausted:

        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        exhausted.setattr(threading.Thread, "start", fail)
        relay.put(refused(1))
        assert not relay.flush(PATIENCE_S)
    relay.put(refused(2))
    assert relay.flush(PATIENCE_S)
    assert heard == [refused(1), refused(2)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_hears_what_happens_in_it_and_nothing_of_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is logged: a fork in the middle of a write to pytest's log file would leave its lock held in the child.
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    told: list[Event] = []
    parent = os.getpid()
    entered, released = threading.Event(), threading.Event()

    def slow(event: Event) -> None:
        told.append(event)
        if os.getpid() == parent:  # in the fork their locks may be held by threads that are not there
            entered.set()
            released.wait(PATIENCE_S)

    stop = subscribe(slow)
    HUB.tell(refused(1))
    assert entered.wait(PATIENCE_S)
    HUB.tell(refused(2))  # waits while the process forks

    def child() -> None:
        HUB.tell(refused(3))
        assert HUB.flush(PATIENCE_S)
        assert refusals(told) == [refused(1), refused(3)]

    try:
        in_child(child)
    finally:
        released.set()
        assert HUB.flush(PATIENCE_S)
        stop()
    assert refusals(told) == [refused(1), refused(2)]


def in_child(work: Callable[[], object]) -> None:
    """Do `work` in a fork of this process. A failure there fails the test."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # a child that hangs must not keep the test waiting
        try:
            work()
            os.write(writing, b"ok")
        except BaseException:  # noqa: BLE001 (told to the parent)
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        answer = said.read().decode()
    os.waitpid(pid, 0)
    assert answer == "ok", answer


def test_the_end_of_a_process_is_heard_before_it_ends() -> None:
    program = (
        "import leasekit; from leasekit.observability import subscribe\n"
        "subscribe(lambda event: print(type(event).__name__, getattr(event, 'reason', ''), flush=True))\n"
        "store = leasekit.connect('memory://')\n"
        "leadership = leasekit.Election('reports', store=store).campaign()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["Elected ", "Ended closed"]
