"""`@singleton`: one process at a time does the work, and what a call does when it may not or may no longer."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.errors import ConfigError, LeadershipLost, LossReason, NotElected
from leasekit.store import Delete

LONG_S = 30.0


@pytest.fixture
def store() -> Iterator[leasekit.ConnectedStore]:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as connected:
        yield connected


@pytest.fixture
def elsewhere(store: leasekit.ConnectedStore) -> Iterator[leasekit.ConnectedStore]:
    """Another process's connection to the same store."""
    with leasekit.connect(store.url) as connected:
        yield connected


def depose(store: leasekit.ConnectedStore, name: str) -> None:
    """Take the leadership away from whoever has it."""

    async def delete() -> None:
        await store.connection.store.transact([], [Delete(f"{name}/leader")], timeout_s=1)

    engine.get().run(delete())


# Calling.


def test_a_call_does_the_work_under_a_leadership_and_releases_it(store: leasekit.ConnectedStore) -> None:
    @leasekit.singleton("nightly", store=store)
    def job(a: int, *, b: int) -> tuple[int, bool]:
        return a + b, leasekit.current().valid

    assert job(1, b=2) == (3, True)
    assert leasekit.Election("nightly", store).leader() is None
    assert job(3, b=4) == (7, True)


async def test_an_async_call_does_the_same(store: leasekit.ConnectedStore) -> None:
    @leasekit.singleton("nightly", store=store)
    async def job(a: int, *, b: int) -> tuple[int, bool]:
        await asyncio.sleep(0)
        return a + b, aio.current().valid

    assert inspect.iscoroutinefunction(job)
    assert await job(1, b=2) == (3, True)
    assert await aio.Election("nightly", store.url).leader() is None


async def test_the_store_may_be_either_face_s_or_a_url(store: leasekit.ConnectedStore) -> None:
    for place in (store, aio.ConnectedStore(store.connection), store.url):

        @leasekit.singleton("nightly", store=place)
        def job() -> str:
            return "done"

        @leasekit.singleton("hourly", store=place)
        async def async_job() -> str:
            return "done"

        assert await asyncio.to_thread(job) == "done"
        assert await async_job() == "done"


def test_methods_class_methods_and_static_methods_can_be_jobs(store: leasekit.ConnectedStore) -> None:
    class Reports:
        def __init__(self, name: str) -> None:
            self.name = name

        @leasekit.singleton("method", store=store)
        def method(self, number: int) -> tuple[str, int]:
            return self.name, number

        @classmethod
        @leasekit.singleton("class", store=store)
        def of_class(cls, number: int) -> tuple[str, int]:
            return cls.__name__, number

        @staticmethod
        @leasekit.singleton("static", store=store)
        def of_none(number: int) -> int:
            return number

    assert Reports("daily").method(1) == ("daily", 1)
    assert Reports.of_class(2) == ("Reports", 2)
    assert Reports.of_none(3) == 3


def test_a_job_keeps_the_name_text_and_signature_of_its_function(store: leasekit.ConnectedStore) -> None:
    def job(a: int, b: str = "x") -> float:
        """What it does."""
        return 0.0

    decorated = leasekit.singleton("nightly", store=store)(job)
    assert decorated.__name__ == "job"
    assert decorated.__doc__ == "What it does."
    assert inspect.signature(decorated) == inspect.signature(job)
    assert inspect.unwrap(decorated) is job


def test_errors_of_the_work_pass_and_release(store: leasekit.ConnectedStore) -> None:
    for stop in ("check", "interrupt"):

        @leasekit.singleton("nightly", store=store, stop=stop)
        def job() -> None:
            raise ZeroDivisionError("as usual")

        with pytest.raises(ZeroDivisionError, match="as usual"):
            job()
        assert leasekit.Election("nightly", store).leader() is None


async def test_errors_of_async_work_pass_and_release(store: leasekit.ConnectedStore) -> None:
    @leasekit.singleton("nightly", store=store)
    async def job() -> None:
        raise ZeroDivisionError("as usual")

    with pytest.raises(ZeroDivisionError, match="as usual"):
        await job()
    assert await aio.Election("nightly", aio.ConnectedStore(store.connection)).leader() is None


# When it is another's turn.


def test_a_call_while_another_leads_is_skipped(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    done: list[str] = []

    @leasekit.singleton("nightly", store=store)
    def job() -> str:
        done.append("again")
        return "done"

    with leasekit.Election("nightly", elsewhere).campaign():
        assert job() is None
    assert done == []
    assert job() == "done"


def test_a_skipped_call_can_raise(store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore) -> None:
    with leasekit.Election("nightly", elsewhere).campaign():
        for wait_s in (0, 0.05):

            @leasekit.singleton("nightly", store=store, on_skip="raise", wait_s=wait_s)
            def job() -> str:
                return "done"

            with pytest.raises(NotElected):
                job()


async def test_a_skipped_async_call_returns_none_or_raises(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    async with aio.Election("nightly", aio.ConnectedStore(elsewhere.connection)).campaign():
        for wait_s in (0, 0.05):

            @leasekit.singleton("nightly", store=store, wait_s=wait_s)
            async def quiet() -> str:
                return "done"

            @leasekit.singleton("nightly", store=store, on_skip="raise", wait_s=wait_s)
            async def loud() -> str:
                return "done"

            assert await quiet() is None
            with pytest.raises(NotElected):
                await loud()


def test_a_call_waits_for_its_turn(store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore) -> None:
    @leasekit.singleton("nightly", store=store, wait_s=None)
    def job() -> str:
        return "done"

    leadership = leasekit.Election("nightly", elsewhere).campaign()
    results: list[str | None] = []
    calling = threading.Thread(target=lambda: results.append(job()))
    calling.start()
    while len(leasekit.Election("nightly", elsewhere).candidates()) < 2:
        time.sleep(0.01)
    assert results == []
    leadership.resign()
    calling.join(LONG_S)
    assert results == ["done"]


def test_calls_in_one_process_exclude_each_other(store: leasekit.ConnectedStore) -> None:
    at_work = most = 0

    @leasekit.singleton("nightly", store=store, wait_s=None)
    def job() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.01)
        at_work -= 1

    threads = [threading.Thread(target=job) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 1


# What cannot work is refused where it is written.


def test_generators_are_refused(store: leasekit.ConnectedStore) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(ConfigError, match="generator"):
            leasekit.singleton("nightly", store=store)(function)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"wait_s": -1}, "wait_s"),
        ({"on_skip": "quietly"}, "on_skip"),
        ({"stop": "never"}, "stop"),
        ({"stop": "cancel"}, "stop"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": 3, "grace_s": 2.5}, "grace_s"),
        ({"grace_s": -1}, "grace_s"),
        ({"stop": "process"}, "stop"),
    ],
)
def test_what_cannot_work_is_refused(store: leasekit.ConnectedStore, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        leasekit.singleton(**{"name": "nightly", "store": store, **arguments})(lambda: None)
    assert refused.value.field == field


@pytest.mark.parametrize("stop", ["interrupt", "process"])
def test_policies_for_sync_code_are_refused_for_async(store: leasekit.ConnectedStore, stop: Any) -> None:
    async def job() -> None: ...

    with pytest.raises(ConfigError, match="async"):
        leasekit.singleton("nightly", store=store, stop=stop)(job)


# Lost while it ran.


def test_check_raises_when_the_function_asks_and_when_it_returns(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    asked: list[bool] = []

    @leasekit.singleton("nightly", store=store)
    def job(*, ask: bool) -> str:
        depose(elsewhere, "nightly")
        leadership = leasekit.current()
        assert leadership.wait_lost(LONG_S) is LossReason.SUPERSEDED
        if ask:
            leadership.check()
        asked.append(ask)
        return "done"

    for ask in (True, False):
        with pytest.raises(LeadershipLost) as lost:
            job(ask=ask)
        assert lost.value.reason is LossReason.SUPERSEDED
        assert lost.value.election == "nightly"
    assert asked == [False]


async def test_cancel_cancels_the_task_and_awaits_it(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    ended = False

    @leasekit.singleton("nightly", store=store)
    async def job() -> None:
        nonlocal ended
        depose(elsewhere, "nightly")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)
            ended = True

    with pytest.raises(LeadershipLost) as lost:
        await asyncio.wait_for(job(), LONG_S)
    assert lost.value.reason is LossReason.SUPERSEDED
    assert ended


def test_interrupt_raises_inside_the_function(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    ended: list[str] = []

    @leasekit.singleton("nightly", store=store, stop="interrupt")
    def job() -> None:
        assert leasekit.current().valid
        try:
            depose(elsewhere, "nightly")  # interrupted perhaps before it has returned
            while True:
                time.sleep(0.005)
        finally:
            ended.append(threading.current_thread().name)

    with pytest.raises(LeadershipLost) as lost:
        job()
    assert lost.value.reason is LossReason.SUPERSEDED
    assert ended == ["leasekit-job"]


def test_interrupt_never_hits_a_function_that_has_returned(store: leasekit.ConnectedStore) -> None:
    """The loss comes at about the moment of the return, again and again."""
    lost = done = 0

    @leasekit.singleton("nightly", store=store, stop="interrupt", wait_s=None)
    def job(delay_s: float) -> str:
        tenure = leasekit.current().tenure
        threading.Timer(delay_s, tenure.end, [LossReason.SUPERSEDED]).start()
        time.sleep(0.01)
        return "done"

    for number in range(60):
        try:
            assert job(0.0095 + number % 20 * 0.0001) == "done"
            done += 1
        except LeadershipLost:
            lost += 1
    assert lost + done == 60


def test_an_interrupted_function_that_returns_all_the_same_has_still_lost(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    @leasekit.singleton("nightly", store=store, stop="interrupt")
    def job() -> str:
        try:
            depose(elsewhere, "nightly")
            while True:
                time.sleep(0.005)
        except BaseException:  # noqa: BLE001 (what one should not do)
            return "done"

    with pytest.raises(LeadershipLost):
        job()


# An operator asks: the work ends first, then the leadership.


async def test_an_operator_s_request_ends_async_work_before_the_leadership(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    await _asked(elsewhere, _async_job(store, elsewhere), to=None)


async def test_an_operator_s_transfer_of_async_work_goes_to_whom_it_names(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    await _asked(elsewhere, _async_job(store, elsewhere), to="heir")


@pytest.mark.parametrize("to", [None, "heir"])
@pytest.mark.parametrize("stop", ["check", "interrupt"])
async def test_an_operator_s_request_ends_sync_work_before_the_leadership(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore, stop: Any, to: str | None
) -> None:
    started = threading.Event()

    @leasekit.singleton("nightly", store=store, stop=stop)
    def job() -> None:
        started.set()
        leadership = leasekit.current()
        try:
            while True:
                leadership.check()
                time.sleep(0.005)
        finally:
            time.sleep(0.2)
            assert _leads(elsewhere) == leadership.id

    await _asked(elsewhere, lambda: asyncio.to_thread(job), to=to, started=started)


def _async_job(store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore) -> Callable[[], Any]:
    @leasekit.singleton("nightly", store=store)
    async def job() -> None:
        leadership = aio.current()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.2)
            assert await asyncio.to_thread(_leads, elsewhere) == leadership.id

    return job


def _leads(store: leasekit.ConnectedStore) -> str | None:
    leader = leasekit.Election("nightly", store).leader()
    return None if leader is None else leader.id


async def _asked(
    elsewhere: leasekit.ConnectedStore,
    job: Callable[[], Any],
    *,
    to: str | None,
    started: threading.Event | None = None,
) -> None:
    """Call the job, ask as an operator, and see that it was stopped, and who leads then."""
    others = aio.ConnectedStore(elsewhere.connection)
    calling = asyncio.ensure_future(job())
    while await asyncio.to_thread(_leads, elsewhere) is None or (started is not None and not started.is_set()):
        await asyncio.sleep(0.01)
    queued = []
    for number, id in enumerate(["first", "heir"], start=2):
        queued.append(asyncio.ensure_future(_lead(aio.Election("nightly", others, id=id))))
        while len(await aio.Election("nightly", others).candidates()) < number:
            await asyncio.sleep(0.01)
    operator = aio.Election("nightly", others)
    assert await (operator.ask_to_resign(LONG_S) if to is None else operator.ask_to_transfer(to, LONG_S))
    with pytest.raises(LeadershipLost) as lost:
        await asyncio.wait_for(calling, LONG_S)
    assert lost.value.reason is (LossReason.RESIGNED if to is None else LossReason.TRANSFERRED)
    winner = await asyncio.wait_for(queued[0 if to is None else 1], LONG_S)
    await winner.resign()
    for waiting in queued:
        await (await waiting).resign()


async def _lead(election: aio.Election) -> aio.Leadership:
    return await election.campaign()


# Cancelled or interrupted from outside.


async def test_cancelling_the_call_awaits_the_work_and_then_releases(
    store: leasekit.ConnectedStore, elsewhere: leasekit.ConnectedStore
) -> None:
    at_work, ended = asyncio.Event(), False

    @leasekit.singleton("nightly", store=store)
    async def job() -> None:
        nonlocal ended
        at_work.set()
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(5):
                # A stubborn end: cancelled again and again, it still takes its time.
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    continue
            assert await asyncio.to_thread(_leads, elsewhere) is not None
            ended = True

    calling = asyncio.ensure_future(job())
    await at_work.wait()
    for _ in range(3):
        calling.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended
    assert await asyncio.to_thread(_leads, elsewhere) is None


async def test_work_that_cancels_itself_passes_that_on(store: leasekit.ConnectedStore) -> None:
    @leasekit.singleton("nightly", store=store)
    async def job() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await job()
