"""Workers in tasks: what becomes of a run, and how serving ends. Slots come when the test says so."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest

import leasekit
from leasekit import aio
from leasekit.errors import AuthError
from leasekit.schedule.aio import Slots
from leasekit.schedule.current import current_run, current_run_aio
from leasekit.schedule.records import Line, Outcome
from leasekit.schedule.serving import LoopCrew, serve_in_threads, serve_on_loop
from leasekit.schedule.tasks import TaskWorker
from leasekit.schedule.threads import Work
from support.fed_slots import FedAsyncSlots

LONG_S = 50.0


@pytest.fixture
def store() -> Iterator[leasekit.ConnectedStore]:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as connected:
        yield connected


@pytest.fixture
def slots(store: leasekit.ConnectedStore) -> FedAsyncSlots:
    return FedAsyncSlots("nightly", store, overlap="queue_one")


def worker(
    slots: FedAsyncSlots, function: Callable[[], Coroutine[Any, Any, Any]], policy: str = "cancel"
) -> TaskWorker:
    return TaskWorker(cast(Slots, slots), Work(function, policy, 1.0))


class Serving:
    """`serve` in a task, so that the test can go on."""

    def __init__(self, *workers: TaskWorker, drain_s: float | None = None) -> None:
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(serve_on_loop(workers, self.stop, drain_s))

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, LONG_S)


async def wait_for(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0.005)


async def until_finished(slots: FedAsyncSlots, count: int) -> list[Line]:
    """The lines, once so many runs have an end."""
    await wait_for(lambda: sum(line.outcome is not Outcome.CLAIMED for line in slots.lines()) >= count)
    return slots.lines()


async def test_a_run_knows_its_slot_and_leads(slots: FedAsyncSlots) -> None:
    seen: list[tuple[Any, ...]] = []

    async def job() -> None:
        run = current_run_aio()
        seen.append((run.slot, run.attempt, run.token, aio.current().token, aio.current().valid))
        with pytest.raises(LookupError, match="aio"):
            current_run()

    serving = Serving(worker(slots, job))
    fed = [slots.feed(), slots.feed()]
    lines = await until_finished(slots, 2)
    await serving.end()
    tokens = [line.token for line in lines]
    assert seen == [(slot, 1, token, token, True) for slot, token in zip(fed, tokens, strict=True)]
    assert [line.outcome for line in lines] == [Outcome.DONE, Outcome.DONE]
    with pytest.raises(LookupError):
        current_run_aio()


async def test_a_job_that_raises_has_failed_and_the_next_slot_is_run(
    slots: FedAsyncSlots, caplog: pytest.LogCaptureFixture
) -> None:
    results = iter([ZeroDivisionError("as usual"), asyncio.CancelledError(), None])

    async def job() -> None:
        if (error := next(results)) is not None:
            raise error

    serving = Serving(worker(slots, job))
    for count in (1, 2, 3):
        slots.feed()
        await until_finished(slots, count)
    await serving.end()
    outcomes = [(line.outcome, line.detail) for line in slots.lines()]
    assert outcomes == [
        (Outcome.FAILED, "ZeroDivisionError: as usual"),
        (Outcome.LOST, "CancelledError"),
        (Outcome.DONE, None),
    ]
    assert any(record.exc_info and isinstance(record.exc_info[1], ZeroDivisionError) for record in caplog.records)


async def test_a_run_whose_leadership_is_lost_is_cancelled_and_lost(
    store: leasekit.ConnectedStore, slots: FedAsyncSlots
) -> None:
    ended = asyncio.Event()

    async def job() -> None:
        aio.current().tenure.end(leasekit.LossReason.SUPERSEDED)
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    serving = Serving(worker(slots, job))
    slots.feed()
    (line,) = await until_finished(slots, 1)
    assert ended.is_set()
    await serving.end()
    assert (line.outcome, line.detail) == (Outcome.LOST, "superseded")


async def test_a_long_run_holds_up_no_other_job(store: leasekit.ConnectedStore, slots: FedAsyncSlots) -> None:
    hourly, go_on = FedAsyncSlots("hourly", store), asyncio.Event()

    async def quick() -> None: ...

    async def long() -> None:
        await go_on.wait()

    serving = Serving(worker(slots, long), worker(hourly, quick))
    slots.feed()
    await wait_for(slots.lines)
    hourly.feed()
    await until_finished(hourly, 1)
    assert [line.outcome for line in slots.lines()] == [Outcome.CLAIMED]
    go_on.set()
    await serving.end()
    assert [line.outcome for line in slots.lines()] == [Outcome.DONE]


@pytest.mark.parametrize("policy", ["cancel", "check"])
async def test_runs_that_outlast_the_drain_are_stopped_and_lost(
    store: leasekit.ConnectedStore, slots: FedAsyncSlots, policy: str
) -> None:
    at_work = asyncio.Event()

    async def job() -> None:
        at_work.set()
        while True:
            aio.current().check()
            await asyncio.sleep(0.005)

    serving = Serving(worker(slots, job, policy), drain_s=0.1)
    slots.feed()
    await asyncio.wait_for(at_work.wait(), LONG_S)
    await serving.end()
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.LOST, "resigned")]
    assert leasekit.Election("nightly", store).leader() is None


async def test_cancelled_it_stops_the_runs_and_writes_their_outcome(slots: FedAsyncSlots) -> None:
    at_work, ended = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        at_work.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    serving = Serving(worker(slots, job))
    slots.feed()
    await asyncio.wait_for(at_work.wait(), LONG_S)
    serving.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving.task
    assert ended.is_set()
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


async def test_cancelled_twice_it_cancels_runs_that_do_not_stop_by_themselves(slots: FedAsyncSlots) -> None:
    at_work = asyncio.Event()

    async def job() -> None:
        at_work.set()
        await asyncio.sleep(3600)  # and never asks, as `check` would have it do

    serving = Serving(worker(slots, job, "check"))
    slots.feed()
    await asyncio.wait_for(at_work.wait(), LONG_S)
    serving.task.cancel()
    await asyncio.sleep(0.05)
    assert not serving.task.done()
    serving.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(serving.task), LONG_S)
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


async def test_errors_that_waiting_does_not_mend_end_serving(slots: FedAsyncSlots) -> None:
    async def job() -> None: ...

    serving = Serving(worker(slots, job))
    slots.fail(AuthError("no such user"))
    with pytest.raises(AuthError):
        await asyncio.wait_for(serving.task, LONG_S)


# Served from blocking code.


def test_blocking_code_serves_async_jobs_on_a_loop_of_their_own(slots: FedAsyncSlots) -> None:
    stop, threads = threading.Event(), set[str]()

    async def job() -> None:
        threads.add(threading.current_thread().name)
        stop.set()

    slots.feed()
    serve_in_threads([LoopCrew(lambda: [worker(slots, job)])], stop, None)
    assert threads == {"leasekit-cron-loop"}
    assert [line.outcome for line in slots.lines()] == [Outcome.DONE]


def test_an_async_job_that_exits_ends_serving(slots: FedAsyncSlots) -> None:
    async def job() -> None:
        raise SystemExit(3)

    slots.feed()
    with pytest.raises(SystemExit) as exiting:
        serve_in_threads([LoopCrew(lambda: [worker(slots, job)])], None, None)
    assert exiting.value.code == 3
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.FAILED, "SystemExit: 3")]


def test_blocking_code_stops_async_runs_that_outlast_the_drain(slots: FedAsyncSlots) -> None:
    stop = threading.Event()

    async def job() -> None:
        stop.set()
        await asyncio.sleep(3600)

    slots.feed()
    serve_in_threads([LoopCrew(lambda: [worker(slots, job)])], stop, 0.1)
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


# Claiming.


async def test_a_slot_that_is_claimed_as_its_claimer_is_cancelled_is_let_go_of(store: leasekit.ConnectedStore) -> None:
    slots = aio.Slots("nightly", "every 1s", store=aio.ConnectedStore(store.connection), overlap="queue_one")
    claiming = asyncio.create_task(slots.next_run(asyncio.Event()))
    await asyncio.sleep(0)
    (coming,) = tasks_named("_on_engine")
    # Called after what wakes the claimer, and before that goes on.
    coming.add_done_callback(lambda _: claiming.cancel())
    with pytest.raises(asyncio.CancelledError):
        await claiming
    election = aio.Election("nightly", aio.ConnectedStore(store.connection))
    async with asyncio.timeout(LONG_S):
        while await election.leader() is not None:
            await asyncio.sleep(0.005)
    # What came due while the machine had no time for it is missed, and no run.
    (run,) = [line for line in await slots.lines() if line.token is not None]
    assert (run.outcome, run.detail) == (Outcome.LOST, "stopped before it began")


def tasks_named(name: str) -> list[asyncio.Task[Any]]:
    """The tasks of this loop that began with the coroutine function of this name."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", None) == name]
