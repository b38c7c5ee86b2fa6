"""Jobs of APScheduler 3, each firing claimed by one of several schedulers."""

from __future__ import annotations

import asyncio
import logging
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED  # type: ignore[import-untyped]
from apscheduler.executors.pool import ProcessPoolExecutor  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.date import DateTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

import leasekit
from leasekit import aio
from leasekit.errors import ConfigError, StoreUnavailable
from leasekit.integrations.apscheduler import ClaimingExecutor
from leasekit.schedule.records import Outcome

PATIENCE_S = 30.0
HERE = Path(__file__).parent


@pytest.fixture
def url() -> str:
    return f"memory://aps-{uuid.uuid4().hex}"


class Machine:
    """A BackgroundScheduler as it would run on one machine, and what it told of its jobs."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.scheduler = BackgroundScheduler(executors={"default": ClaimingExecutor(store=url, **settings)})
        self.events: queue.Queue[Any] = queue.Queue()
        self.scheduler.add_listener(self.events.put, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED)
        self.scheduler.start(paused=True)

    def fire(self, job: Callable[..., Any], at: datetime, **options: Any) -> Any:
        """Have `job` fire for this instant; what is told of it."""
        self.scheduler.add_job(job, DateTrigger(at), **{"id": "report", "misfire_grace_time": None, **options})
        self.scheduler.resume()
        event = self.events.get(timeout=PATIENCE_S)
        self.scheduler.pause()
        return event


@pytest.fixture
def machine(url: str) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**settings: Any) -> Machine:
        made.append(Machine(url, **settings))
        return made[-1]

    yield make
    for each in made:
        each.scheduler.shutdown()


def whole_second(ago_s: float = 0) -> datetime:
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).replace(microsecond=0)


def test_a_firing_runs_on_one_of_two_machines_under_a_leadership(url: str, machine: Callable[..., Machine]) -> None:
    slot = whole_second()
    ran: list[int] = []

    def report(factor: int, *, of: int) -> int:
        ran.append(leasekit.current().token)
        return factor * of

    first = machine().fire(report, slot, args=(6,), kwargs={"of": 7})
    second = machine().fire(report, slot, args=(6,), kwargs={"of": 7})
    assert (first.code, first.retval, first.scheduled_run_time) == (EVENT_JOB_EXECUTED, 42, slot)
    assert (second.code, second.retval) == (EVENT_JOB_EXECUTED, None)
    [line] = leasekit.Slots("report", store=url).lines()
    assert (line.slot, line.outcome, [line.token]) == (slot, Outcome.DONE, ran)


def test_a_job_that_raises_is_an_error_here_and_failed_in_the_slots(
    url: str, machine: Callable[..., Machine], caplog: pytest.LogCaptureFixture
) -> None:
    def report() -> None:
        raise RuntimeError("no paper")

    event = machine().fire(report, whole_second())
    assert event.code == EVENT_JOB_ERROR and "no paper" in str(event.exception)
    [line] = leasekit.Slots("report", store=url).lines()
    assert (line.outcome, line.detail) == (Outcome.FAILED, "RuntimeError: no paper")


def test_a_sync_job_whose_leadership_is_lost_is_told_so(url: str, machine: Callable[..., Machine]) -> None:
    def report() -> None:
        assert leasekit.Election("report", url).force_resign()
        assert leasekit.current().wait_lost(timeout_s=30)
        leasekit.current().check()

    event = machine().fire(report, whole_second())
    assert event.code == EVENT_JOB_ERROR and isinstance(event.exception, leasekit.LeadershipLost)


def test_what_apscheduler_takes_for_a_misfire_is_not_claimed(url: str, machine: Callable[..., Machine]) -> None:
    slot = whole_second(ago_s=30)
    late = machine().fire(lambda: "late", slot, misfire_grace_time=5)
    assert late.code == EVENT_JOB_MISSED
    assert leasekit.Slots("report", store=url).lines() == []
    patient = machine().fire(lambda: "in time", slot, misfire_grace_time=60)
    assert (patient.code, patient.retval) == (EVENT_JOB_EXECUTED, "in time")


@pytest.mark.parametrize(("coalesce", "expected"), [(True, 1), (False, 3)])
def test_each_due_instant_is_claimed_or_the_latest_as_coalesce_says(
    url: str, machine: Callable[..., Machine], coalesce: bool, expected: int
) -> None:
    ran: list[int] = []
    here = machine()
    # Due three times when the scheduler comes to it.
    begin = whole_second(ago_s=20)
    trigger = IntervalTrigger(seconds=8, start_date=begin, end_date=begin + timedelta(seconds=17))
    here.scheduler.add_job(
        lambda: ran.append(1), trigger, id="report", misfire_grace_time=None, coalesce=coalesce, next_run_time=begin
    )
    here.scheduler.resume()
    told = [here.events.get(timeout=PATIENCE_S) for _ in range(expected)]
    assert [event.code for event in told] == [EVENT_JOB_EXECUTED] * expected
    slots = [line.slot for line in leasekit.Slots("report", store=url).lines() if line.outcome is Outcome.DONE]
    assert slots == [begin + timedelta(seconds=at) for at in (0, 8, 16)][-expected:]
    assert len(ran) == expected


def test_a_run_that_goes_on_elsewhere_is_not_joined(url: str, machine: Callable[..., Machine]) -> None:
    """`max_instances` knows of this process alone; `overlap` of all."""
    began, end = threading.Event(), threading.Event()

    def report() -> str:
        began.set()
        end.wait(PATIENCE_S)
        return "ran"

    one, two = machine(), machine()
    slot = whole_second(ago_s=2)
    one.scheduler.add_job(report, DateTrigger(slot), id="report", misfire_grace_time=None)
    one.scheduler.resume()
    assert began.wait(PATIENCE_S)
    assert two.fire(report, slot + timedelta(seconds=1)).retval is None
    end.set()
    assert one.events.get(timeout=PATIENCE_S).retval == "ran"
    outcomes = {line.slot: line.outcome for line in leasekit.Slots("report", store=url).lines()}
    assert outcomes == {slot: Outcome.DONE, slot + timedelta(seconds=1): Outcome.SKIPPED}


@pytest.mark.parametrize(
    ("job_options", "trigger", "field"),
    [
        ({}, CronTrigger(second="*"), "id"),
        ({"id": "report"}, CronTrigger(second="*", jitter=5), "jitter"),
        ({"id": "report"}, DateTrigger(datetime(2026, 1, 1, microsecond=5, tzinfo=UTC)), "trigger"),
        ({"id": "two words"}, CronTrigger(second="*"), "name"),
    ],
)
def test_what_other_machines_could_not_mean_the_same_by_is_refused(
    url: str,
    machine: Callable[..., Machine],
    caplog: pytest.LogCaptureFixture,
    job_options: dict[str, Any],
    trigger: Any,
    field: str,
) -> None:
    here = machine()
    here.scheduler.add_job(pytest.fail, trigger, misfire_grace_time=None, **job_options)
    with caplog.at_level(logging.ERROR):
        here.scheduler.resume()
        give_up = time.monotonic() + PATIENCE_S
        while not (errors := [record.exc_info for record in caplog.records if record.exc_info]):
            assert time.monotonic() < give_up
            time.sleep(0.02)
    raised = errors[0][1]
    assert isinstance(raised, ConfigError) and raised.field == field


def test_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads"):
        ClaimingExecutor(ProcessPoolExecutor(1))


def test_a_store_that_does_not_answer_is_asked_again(
    url: str, machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([StoreUnavailable("down"), StoreUnavailable("down")])
    original = leasekit.Slots.claim

    def claim(slots: leasekit.Slots, slot: datetime | None = None) -> Any:
        for error in answers:
            raise error
        return original(slots, slot)

    monkeypatch.setattr(leasekit.Slots, "claim", claim)
    assert machine().fire(lambda: "ran", whole_second()).retval == "ran"


def test_a_store_that_stays_away_is_an_error_once_the_slot_is_too_late(
    url: str, machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(_slots: leasekit.Slots, _slot: datetime | None = None) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(leasekit.Slots, "claim", claim)
    event = machine(max_late_s=2).fire(lambda: "ran", whole_second())
    assert isinstance(event.exception, StoreUnavailable)


async def test_async_jobs_run_on_the_scheduler_s_loop_and_are_cancelled_when_the_leadership_is_lost(url: str) -> None:
    scheduler = AsyncIOScheduler(executors={"default": ClaimingExecutor(store=url)})
    told: asyncio.Queue[Any] = asyncio.Queue()
    scheduler.add_listener(told.put_nowait, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    loop = asyncio.get_running_loop()
    began = asyncio.Event()

    async def report(word: str) -> str:
        assert asyncio.get_running_loop() is loop
        assert aio.current().valid
        return word

    async def endless() -> None:
        began.set()
        await asyncio.sleep(3600)

    def in_a_thread() -> int:
        return leasekit.current().token

    when: dict[str, Any] = {"trigger": DateTrigger(whole_second()), "misfire_grace_time": None}
    scheduler.add_job(partial(report, "done"), id="partial", **when)
    scheduler.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert (await told.get()).retval == "done"
            scheduler.add_job(in_a_thread, id="sync", **when)
            assert (await told.get()).retval > 0
            scheduler.add_job(endless, id="endless", **when)
            await began.wait()
            assert await aio.Election("endless", url).ask_to_resign()
            assert isinstance((await told.get()).exception, leasekit.LeadershipLost)
    finally:
        scheduler.shutdown()


def words_of(file: Path) -> list[str]:
    """The lines of a file that may not be there yet."""
    return file.read_text().splitlines() if file.exists() else []


def test_two_processes_share_the_firings_of_each_second(tmp_path: Path) -> None:
    url, notes, executed = f"sqlite:///{tmp_path}/leases.db", tmp_path / "notes", tmp_path / "executed"
    schedulers = [
        subprocess.Popen(
            [sys.executable, str(HERE / "aps_app.py"), kind, str(notes), str(executed)],
            env={"LEASEKIT_STORE": url, "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in ("background", "asyncio")
    ]
    try:
        for scheduler in schedulers:
            assert scheduler.stdout is not None
            assert scheduler.stdout.readline() == "up\n"
        give_up = time.monotonic() + 60
        # Until there were five runs, and some slot was met by both.
        while len(words_of(notes)) < 5 or max(Counter(words_of(executed)).values(), default=0) < 2:
            assert time.monotonic() < give_up
            time.sleep(0.1)
    finally:
        for scheduler in schedulers:
            scheduler.communicate(timeout=PATIENCE_S)
    ran = [line.split() for line in notes.read_text().splitlines()]
    by_slot = Counter(datetime.fromisoformat(slot) for slot, _, _ in ran)
    with leasekit.connect(url) as store:
        lines = leasekit.Slots("tick", store=store).lines(64)
    assert set(by_slot.values()) == {1}, "a firing ran twice"
    assert {line.slot for line in lines if line.outcome is Outcome.DONE} == set(by_slot)
    assert len(lines) == len({line.slot for line in lines})
    tokens = [int(token) for _, _, token in ran]
    assert tokens == sorted(set(tokens))
