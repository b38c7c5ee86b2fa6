"""leasekit as its users' type checkers see it. Never run: mypy reads it with everything else, and `test_typing` too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, assert_type

import leasekit
from leasekit import aio

store = leasekit.connect("memory://")
election = leasekit.Election("reports", store=store, id=None, ttl_s=15, priority=0, meta={"zone": "a"})
async_store = aio.connect("memory://")
async_election = aio.Election("reports", async_store)


# The blocking face.


def blocking() -> None:
    with leasekit.connect() as connected:
        assert_type(connected, leasekit.ConnectedStore)
        connected.close(timeout_s=5)
    with election.campaign(timeout_s=3) as leadership:
        assert_type(leadership, leasekit.Leadership)
        assert_type(leadership.token, int)
        assert_type(leadership.valid, bool)
        assert_type(leadership.remaining_s, float)
        assert_type(leadership.reason, leasekit.LossReason | None)
        assert_type(leadership.wait_lost(1), leasekit.LossReason | None)
        assert_type(leadership.transfer("other"), bool)
        leadership.check()
        leadership.add_lost_callback(print)
        leadership.add_lost_callback(lambda reason: reason.value)
        leadership.resign()
    assert_type(election.try_campaign(), leasekit.Leadership | None)
    assert_type(election.leader(), leasekit.Leader | None)
    assert_type(election.candidates(), list[leasekit.Candidate])
    assert_type(election.history(limit=3), list[leasekit.PastLeadership])
    with election.observe() as observer:
        for leader in observer:
            assert_type(leader, leasekit.Leader | None)
    watched: Iterator[leasekit.Leader | None] = election.observe()
    next(watched)
    assert_type(election.run(lambda held: held.token), int | None)
    assert_type(election.run(work, stop=threading.Event()), str | None)
    assert_type(election.ask_to_resign(), bool)
    assert_type(election.ask_to_transfer("other", timeout_s=3), bool)
    assert_type(election.force_resign(), bool)
    assert_type(leasekit.current(), leasekit.Leadership)


def work(leadership: leasekit.Leadership) -> str:
    return str(leadership.token)


# The asynchronous face.


async def asynchronous() -> None:
    async with aio.connect() as connected:
        assert_type(connected, aio.ConnectedStore)
        await connected.close(timeout_s=5)
    async with async_election.campaign(timeout_s=3) as leadership:
        assert_type(leadership, aio.Leadership)
        assert_type(leadership.token, int)
        assert_type(leadership.valid, bool)
        assert_type(await leadership.wait_lost(1), leasekit.LossReason | None)
        assert_type(await leadership.transfer("other"), bool)
        await leadership.resign()
    assert_type(await async_election.campaign(), aio.Leadership)
    async with await async_election.campaign() as awaited:
        assert_type(awaited, aio.Leadership)
    assert_type(await async_election.try_campaign(), aio.Leadership | None)
    assert_type(await async_election.leader(), leasekit.Leader | None)
    async with async_election.observe() as observer:
        async for leader in observer:
            assert_type(leader, leasekit.Leader | None)
    assert_type(await async_election.run(async_work, stop=asyncio.Event()), str | None)
    assert_type(await async_election.force_resign(), bool)
    assert_type(aio.current(), aio.Leadership)


async def async_work(leadership: aio.Leadership) -> str:
    return str(leadership.token)


# Jobs.


@leasekit.singleton("nightly")
def job(a: int, b: str = "", *, c: float) -> bytes:
    return b""


@leasekit.singleton("nightly", store=store, on_skip="raise", wait_s=None)
def job_or_raise(a: int) -> bytes:
    return b""


@leasekit.singleton("nightly", store=async_store)
async def async_job(a: int) -> bytes:
    return b""


@leasekit.singleton("nightly", store="memory://", on_skip="raise", stop="cancel")
async def async_job_or_raise(a: int) -> bytes:
    return b""


@leasekit.singleton("nightly", stop="interrupt", ttl_s=30, grace_s=3)
def job_without_result() -> None: ...


class Reports:
    @leasekit.singleton("method")
    def method(self, a: int) -> bytes:
        return b""

    @leasekit.singleton("async-method", on_skip="raise")
    async def async_method(self, a: int) -> bytes:
        return b""

    @classmethod
    @leasekit.singleton("class-method")
    def class_method(cls, a: int) -> bytes:
        return b""


assert_type(job(1, "b", c=0.5), bytes | None)
assert_type(job_or_raise(1), bytes)
assert_type(job_without_result(), None)
assert_type(Reports().method(1), bytes | None)
assert_type(Reports.class_method(1), bytes | None)
as_callable: Callable[[int], bytes] = job_or_raise
as_coroutine: Callable[[int], Coroutine[Any, Any, bytes]] = async_job_or_raise


async def jobs() -> None:
    assert_type(await async_job(1), bytes | None)
    assert_type(await async_job_or_raise(a=1), bytes)
    assert_type(await Reports().async_method(1), bytes)
    waiting: Awaitable[bytes | None] = async_job(1)
    await waiting


# Jobs on a schedule, and slots.


@leasekit.cron("nightly", "0 3 * * *", tz="Europe/Paris", overlap="queue_one", missed="all", guarantee="at_least_once")
def cron_job(a: int = 0, *, b: str = "") -> bytes:
    return b""


@leasekit.cron("hourly", "@hourly", store=store, stop="process", ttl_s=30, grace_s=3, max_late_s=60, jitter_s=5)
def cron_job_without_result() -> None: ...


@leasekit.cron("often", "every 30s", store=async_store, allow_unchecked_clock=True)
async def async_cron_job(a: int = 0) -> bytes:
    return b""


assert_type(cron_job(1, b="b"), bytes)
assert_type(cron_job_without_result(), None)
assert_type(cron_job.name, str)
assert_type(cron_job.slots(), leasekit.Slots)
assert_type(async_cron_job.slots(), aio.Slots)
cron_as_callable: Callable[[int], bytes] = cron_job


def serving() -> None:
    cron_job.serve()
    cron_job.serve(threading.Event(), drain_s=3)
    leasekit.serve(cron_job, async_cron_job, stop=threading.Event(), drain_s=None)
    assert_type(leasekit.current_run(), leasekit.Run)
    assert_type(leasekit.current_run().attempt, int)
    slots = leasekit.Slots("nightly", "@daily", store=store)
    with slots.serving():
        if run := slots.next_run(threading.Event()):
            with run:
                assert_type(run.leadership, leasekit.Leadership)
                run.finish(leasekit.Outcome.FAILED, "exit 3")


async def serving_async() -> None:
    assert_type(await async_cron_job(1), bytes)
    await async_cron_job.serve(asyncio.Event(), drain_s=3)
    await aio.serve(async_cron_job, stop=asyncio.Event())
    assert_type(aio.current_run(), aio.Run)
    slots = aio.Slots("nightly", "@daily", store=async_store)
    if run := await slots.claim():
        async with run:
            assert_type(run.leadership, aio.Leadership)
            await run.finish(leasekit.Outcome.DONE)


# Errors.


def errors() -> None:
    try:
        election.campaign()
    except leasekit.LeadershipLost as lost:
        assert_type(lost.reason, leasekit.LossReason)
        assert_type(lost.token, int | None)
    except leasekit.FencingRejected as rejected:
        assert_type(rejected.highest, int)
    except leasekit.ConfigError as refused:
        assert_type(refused.field, str)
    except leasekit.NotElected as late:
        timeout: TimeoutError = late
        raise timeout from None


# What is wrong is refused: `warn_unused_ignores` makes each of these lines a test.


def wrong() -> None:
    leasekit.Election()  # type: ignore[call-arg]
    leasekit.Election("reports", ttl="15")  # type: ignore[call-arg]
    leasekit.Election("reports", async_store)  # type: ignore[arg-type]
    aio.Election("reports", store)  # type: ignore[arg-type]
    leasekit.Election("reports", None, "id")  # type: ignore[call-arg]
    election.campaign("soon")  # type: ignore[arg-type]
    print(election.leader().id)  # type: ignore[union-attr]
    leadership = election.campaign()
    leadership.token = 3  # type: ignore[misc]
    leadership.valid()  # type: ignore[operator]
    leadership.add_lost_callback(lambda: None)  # type: ignore[arg-type, misc]
    election.run(work, stop=asyncio.Event())  # type: ignore[arg-type]
    job("1", c=0.5)  # type: ignore[arg-type]
    job(1)  # type: ignore[call-arg]
    job(1, c=0.5).hex()  # type: ignore[union-attr]
    Reports().method("1")  # type: ignore[arg-type]
    leasekit.singleton("nightly", stop="sometimes")  # type: ignore[call-overload]
    leasekit.singleton("nightly", on_skip="ignore")  # type: ignore[call-overload]
    leasekit.singleton("nightly", 15)  # type: ignore[call-overload]
    leasekit.singleton(job)  # type: ignore[call-overload]
    leasekit.elect("reports")  # type: ignore[attr-defined]
    cron_job("1")  # type: ignore[arg-type]
    cron_job(c=1)  # type: ignore[call-arg]
    cron_job().decode().upper().fly()  # type: ignore[attr-defined]
    cron_job.serve(asyncio.Event())  # type: ignore[arg-type]
    leasekit.serve(job)  # type: ignore[arg-type]
    leasekit.serve(cron_job, stop=3)  # type: ignore[arg-type]
    leasekit.cron("nightly")  # type: ignore[call-arg]
    leasekit.cron("nightly", "@daily", "UTC")  # type: ignore[call-arg]
    leasekit.cron("nightly", 3)  # type: ignore[arg-type]
    leasekit.cron("nightly", "@daily", overlap="both")  # type: ignore[arg-type]
    leasekit.cron("nightly", "@daily", missed="some")  # type: ignore[arg-type]
    leasekit.cron("nightly", "@daily", guarantee="exactly_once")  # type: ignore[arg-type]
    leasekit.cron("nightly", "@daily", stop="sometimes")  # type: ignore[arg-type]
    leasekit.Slots("nightly", store=async_store)  # type: ignore[arg-type]


async def wrong_too() -> None:
    print(async_election.campaign().token)  # type: ignore[attr-defined]
    with async_election.campaign():  # type: ignore[attr-defined]
        pass
    async with election.campaign():  # type: ignore[attr-defined]
        pass
    (await async_job(1)).hex()  # type: ignore[union-attr]
    await job_or_raise(1)  # type: ignore[misc]
    await cron_job.serve()  # type: ignore[func-returns-value, misc]
    await async_cron_job.serve(threading.Event())  # type: ignore[arg-type]
    await aio.serve(cron_job)  # type: ignore[arg-type]
    (await async_cron_job("1")).fly()  # type: ignore[arg-type, attr-defined]
