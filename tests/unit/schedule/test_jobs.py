"""`@cron` and `serve`: what a job is, what is refused where it is written, and what is served."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import leasekit
from leasekit import aio
from leasekit.errors import ConfigError
from leasekit.schedule.jobs import AsyncCronJob, CronJob
from leasekit.schedule.times import parse

LONG_S = 50.0


@pytest.fixture
def store() -> Iterator[leasekit.ConnectedStore]:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as connected:
        yield connected


@leasekit.cron("at-module-level", "@daily")
def at_module_level(a: int = 1) -> str:
    """What it does."""
    return f"done {a}"


@leasekit.cron("at-module-level-async", "@daily")
async def at_module_level_async(a: int = 1) -> str:
    """What it does."""
    await asyncio.sleep(0)
    return f"done {a}"


# A job is its function, and more.


async def test_calling_a_job_runs_it_now_without_a_claim() -> None:
    with pytest.raises(LookupError):
        leasekit.current_run()
    assert at_module_level() == "done 1"
    assert at_module_level(2) == "done 2"
    assert await at_module_level_async(a=3) == "done 3"


@pytest.mark.parametrize("job", [at_module_level, at_module_level_async], ids=repr)
def test_a_job_keeps_the_name_text_and_signature_of_its_function(job: Any) -> None:
    assert job.__doc__ == "What it does."
    assert job.__name__.startswith("at_module_level")
    assert str(inspect.signature(job)) == "(a: 'int' = 1) -> 'str'"
    assert inspect.unwrap(job) is not job
    assert "at-module-level" in repr(job)


@pytest.mark.parametrize("job", [at_module_level, at_module_level_async], ids=repr)
def test_a_job_is_pickled_by_its_name_so_that_a_process_can_serve_it(job: Any) -> None:
    assert pickle.loads(pickle.dumps(job)) is job
    assert pickle.loads(pickle.dumps(job.serve)).__self__ is job


def test_a_job_tells_its_name_schedule_and_slots(store: leasekit.ConnectedStore) -> None:
    @leasekit.cron("nightly", "0 3 * * *", tz="Europe/Paris", store=store)
    def job() -> None: ...

    assert (job.name, job.schedule.text, job.schedule.tz) == ("nightly", "0 3 * * *", "Europe/Paris")
    assert job.slots().lines() == []
    assert [slot.astimezone(job.schedule.zone).hour for slot in job.slots().upcoming(2)] == [3, 3]


async def test_the_store_may_be_either_face_s_or_a_url(store: leasekit.ConnectedStore) -> None:
    for place in (store, aio.ConnectedStore(store.connection), store.url):

        @leasekit.cron("sync", "@daily", store=place)
        def job() -> None: ...

        @leasekit.cron("async", "@daily", store=place)
        async def async_job() -> None: ...

        assert await asyncio.to_thread(job.slots().lines) == []
        assert await async_job.slots().lines() == []


def test_a_schedule_may_be_given_parsed(store: leasekit.ConnectedStore) -> None:
    when = parse("0 3 * * *", "Europe/Paris")

    @leasekit.cron("nightly", when, store=store)
    def job() -> None: ...

    assert job.schedule is when
    with pytest.raises(ConfigError) as refused:
        leasekit.cron("nightly", when, tz="UTC")
    assert refused.value.field == "tz"


def test_static_methods_and_partials_can_be_jobs(store: leasekit.ConnectedStore) -> None:
    class Reports:
        @staticmethod
        @leasekit.cron("static", "@daily", store=store)
        def of_none() -> int:
            return 1

    assert Reports.of_none() == 1
    assert isinstance(Reports.of_none, CronJob)

    async def needs(number: int) -> int:
        return number

    job = leasekit.cron("partial", "@daily", store=store)(functools.partial(needs, 2))
    assert isinstance(job, AsyncCronJob)
    assert asyncio.run(job()) == 2


# What cannot work is refused where it is written.


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"schedule": "sometimes"}, "schedule"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"overlap": "both"}, "overlap"),
        ({"missed": "some"}, "missed"),
        ({"guarantee": "exactly_once"}, "guarantee"),
        ({"max_late_s": -1}, "max_late_s"),
        ({"max_skew_s": float("nan")}, "max_skew_s"),
        ({"jitter_s": -1}, "jitter_s"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": 3, "grace_s": 2.5}, "grace_s"),
        ({"stop": "never"}, "stop"),
        ({"stop": "cancel"}, "stop"),
        ({"stop": "process"}, "stop"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        leasekit.cron(**{"name": "nightly", "schedule": "@daily", **arguments})(lambda: None)
    assert refused.value.field == field


def test_functions_that_need_arguments_are_refused() -> None:
    def of_one(a: int, b: int = 0) -> None: ...
    def of_name(*, a: int) -> None: ...

    for function in (of_one, of_name):
        with pytest.raises(ConfigError, match=r"needs arguments \(a\)"):
            leasekit.cron("nightly", "@daily")(function)


def test_methods_are_refused() -> None:
    with pytest.raises(ConfigError, match="is a method"):

        class Reports:
            @leasekit.cron("nightly", "@daily")
            def method(self) -> None: ...

    wrappers: list[Any] = [staticmethod, classmethod]
    for wrapper in wrappers:
        with pytest.raises(ConfigError, match=f"beneath @{wrapper.__name__}"):
            leasekit.cron("nightly", "@daily")(wrapper(lambda: None))


def test_generators_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(ConfigError, match="generator"):
            leasekit.cron("nightly", "@daily")(function)


@pytest.mark.parametrize("stop", ["interrupt", "process"])
def test_policies_for_sync_code_are_refused_for_async(stop: Any) -> None:
    async def job() -> None: ...

    with pytest.raises(ConfigError, match="async"):
        leasekit.cron("nightly", "@daily", stop=stop)(job)


def test_what_is_no_set_of_jobs_is_not_served() -> None:
    def plain() -> None: ...

    with pytest.raises(ConfigError, match="none"):
        leasekit.serve()
    with pytest.raises(ConfigError, match=r"@leasekit\.cron"):
        leasekit.serve(plain)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="twice"):
        leasekit.serve(at_module_level, at_module_level)
    with pytest.raises(ConfigError, match="drain_s"):
        at_module_level.serve(drain_s=-1)


async def test_the_asynchronous_face_serves_async_jobs_alone() -> None:
    with pytest.raises(ConfigError, match=r"leasekit\.serve"):
        await aio.serve(at_module_level)  # type: ignore[arg-type]


def test_decorating_makes_no_connection_and_no_thread() -> None:
    before = threading.active_count()

    @leasekit.cron("nightly", "@daily", store="etcd://127.0.0.1:1")
    def job() -> None: ...

    assert threading.active_count() == before


# Serving.


def jobs_of(
    store: leasekit.ConnectedStore, done: Callable[[str], object]
) -> tuple[CronJob[[], None], AsyncCronJob[[], None]]:
    """One of each kind, each second, telling of its slots."""

    @leasekit.cron("sync", "every 1s", store=store)
    def job() -> None:
        assert leasekit.current().valid
        done(f"sync {leasekit.current_run().slot}")

    @leasekit.cron("async", "every 1s", store=store)
    async def async_job() -> None:
        assert aio.current().valid
        done(f"async {aio.current_run().slot}")

    return job, async_job


def test_sync_and_async_jobs_are_served_together(store: leasekit.ConnectedStore) -> None:
    stop, done = threading.Event(), list[str]()

    def tell(what: str) -> None:
        done.append(what)
        if {word.split()[0] for word in done} == {"sync", "async"}:
            stop.set()

    job, async_job = jobs_of(store, tell)
    leasekit.serve(job, async_job, stop=stop)
    assert len(set(done)) == len(done)
    # What came due while the machine had no time for it is missed, and no run.
    runs = [line for line in job.slots().lines() if line.token is not None]
    assert {line.outcome for line in runs} == {leasekit.Outcome.DONE}
    assert job.slots().workers() == []


def test_a_served_job_is_told_of_the_end_and_does_not_ask_for_it(
    store: leasekit.ConnectedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leasekit.schedule.slots.STOP_POLL_S", 3600)
    stop = threading.Event()

    @leasekit.cron("yearly", "@yearly", store=store)
    def job() -> None: ...

    serving = threading.Thread(target=job.serve, args=(stop,))
    serving.start()
    while not job.slots().workers():
        time.sleep(0.01)
    stop.set()
    serving.join(LONG_S)
    assert not serving.is_alive()


async def test_an_async_job_is_served_on_the_running_loop(store: leasekit.ConnectedStore) -> None:
    stop = asyncio.Event()
    seen: set[object] = set()

    def tell(_what: str) -> None:
        seen.add(asyncio.get_running_loop())

    _, async_job = jobs_of(store, tell)
    serving = asyncio.create_task(async_job.serve(stop))
    async with asyncio.timeout(LONG_S):
        while not (workers := await async_job.slots().workers()) or not seen:
            await asyncio.sleep(0.01)
    assert len(workers) == 1
    stop.set()
    await asyncio.wait_for(serving, LONG_S)
    assert seen == {asyncio.get_running_loop()}
    assert await async_job.slots().workers() == []


def test_a_job_that_is_served_for_the_first_time_makes_up_for_nothing(store: leasekit.ConnectedStore) -> None:
    stop, began = threading.Event(), datetime.now(UTC).replace(microsecond=0)
    slots: list[datetime] = []

    @leasekit.cron("new", "every 1s", store=store, missed="all")
    def job() -> None:
        slots.append(leasekit.current_run().slot)
        stop.set()

    job.serve(stop)
    assert slots[0] > began
