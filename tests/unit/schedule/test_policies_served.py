"""Overlap and missed policies, as jobs that are served meet them. leasekit's thread goes by a clock that the test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self
from unittest import mock

import pytest

import leasekit
from leasekit import Outcome, engine
from leasekit.schedule.jobs import CronJob
from leasekit.testing.stepped import SteppedClock
from leasekit.testing.surroundings import surroundings

LONG_S = 50.0
CLAIMED, DONE, SKIPPED, MISSED, LOST = Outcome.CLAIMED, Outcome.DONE, Outcome.SKIPPED, Outcome.MISSED, Outcome.LOST


@pytest.fixture
def clock() -> Iterator[SteppedClock]:
    # Who serves waits for leasekit all the time, and time is not to pass for that.
    with mock.patch.object(engine, "awaited", return_value=False), surroundings() as (clock, _store):
        yield clock


class Held:
    """A job whose runs go on until they are let go, or asked to stop."""

    def __init__(self, clock: SteppedClock, schedule: str = "every 1s", **policy: Any) -> None:
        self.clock = clock
        self.go_on = threading.Event()
        self.at_work = 0
        self.slots: list[float] = []
        self._lock = threading.Lock()

        @leasekit.cron("job", schedule, store="memory://", ttl_s=5, **policy)
        def job() -> None:
            with self._lock:
                self.at_work += 1
                self.slots.append(leasekit.current_run().slot.timestamp() - 1_800_000_000)
            try:
                while not self.go_on.wait(0.005):
                    leasekit.current().check()
            finally:
                with self._lock:
                    self.at_work -= 1

        self.job: CronJob[[], None] = job
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        self.job.serve(self._stop, drain_s=0)

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        # Its first look has been taken: from here on slots are its business.
        self.until(lambda: self.job.slots().record() is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        give_up_s = time.monotonic() + LONG_S
        while self._thread.is_alive():
            assert time.monotonic() < give_up_s, "serving goes on"
            self._thread.join(0.01)
            self.clock.advance(0.01)  # what is written a moment later is waited for

    def lines(self) -> list[tuple[Outcome, int]]:
        return [(line.outcome, line.count) for line in self.job.slots().lines()]

    def until(self, condition: Callable[[], Any]) -> None:
        """Real time for the job's own threads, while leasekit's stands still."""
        give_up_s = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < give_up_s, (self.slots, self.job.slots().lines())
            self.clock.settle()
            time.sleep(0.005)

    def are_at_work(self, count: int) -> bool:
        return self.at_work == count

    def becomes(self, *lines: tuple[Outcome, int]) -> None:
        self.until(lambda: self.lines() == list(lines))


def test_skip_leaves_out_what_comes_due_while_a_run_goes_on(clock: SteppedClock) -> None:
    with Held(clock, overlap="skip") as held:
        clock.advance(1)
        held.becomes((CLAIMED, 1))
        for count in (1, 2):
            clock.advance(1)
            held.becomes((CLAIMED, 1), (SKIPPED, count))
        held.go_on.set()
        held.becomes((DONE, 1), (SKIPPED, 2))
        clock.advance(1)
        held.becomes((DONE, 1), (SKIPPED, 2), (DONE, 1))
        assert held.slots == [1, 4]


def test_queue_one_runs_the_latest_when_the_run_has_ended(clock: SteppedClock) -> None:
    with Held(clock, overlap="queue_one") as held:
        clock.advance(1)
        held.becomes((CLAIMED, 1))
        clock.advance(3)
        assert held.lines() == [(CLAIMED, 1)]
        held.go_on.set()
        held.becomes((DONE, 1), (MISSED, 2), (DONE, 1))
        assert held.slots == [1, 4]


def test_queue_one_with_all_runs_each_in_its_order(clock: SteppedClock) -> None:
    with Held(clock, overlap="queue_one", missed="all") as held:
        clock.advance(1)
        held.becomes((CLAIMED, 1))
        clock.advance(3)
        held.go_on.set()
        held.becomes(*[(DONE, 1)] * 4)
        assert held.slots == [1, 2, 3, 4]


def test_cancel_other_stops_the_run_and_begins_the_next(clock: SteppedClock) -> None:
    with Held(clock, overlap="cancel_other", guarantee="at_least_once") as held:
        clock.advance(1)
        held.becomes((CLAIMED, 1))
        clock.advance(1)
        held.becomes((LOST, 1), (CLAIMED, 1))
        held.go_on.set()
        held.becomes((LOST, 1), (DONE, 1))
        assert held.slots == [1, 2]


def test_allow_runs_them_beside_each_other(clock: SteppedClock) -> None:
    with Held(clock, overlap="allow") as held:
        for count in (1, 2, 3):
            clock.advance(1)
            held.until(partial(held.are_at_work, count))
        assert held.lines() == [(CLAIMED, 1)] * 3
        held.go_on.set()
        held.becomes(*[(DONE, 1)] * 3)
        assert held.slots == [1, 2, 3]


@pytest.mark.parametrize(
    ("missed", "lines", "slots"),
    [
        ("latest", [(DONE, 1), (MISSED, 2), (DONE, 1)], [10, 40]),
        ("all", [(DONE, 1)] * 4, [10, 20, 30, 40]),
        ("skip", [(DONE, 1), (MISSED, 3)], [10]),
    ],
)
def test_what_nobody_was_there_for(
    clock: SteppedClock, missed: str, lines: list[tuple[Outcome, int]], slots: list[float]
) -> None:
    held = Held(clock, "every 10s", missed=missed)
    held.go_on.set()
    with held:
        clock.advance(10)
        held.becomes((DONE, 1))
    clock.advance(35)
    with held:
        held.becomes(*lines)
        assert held.slots == slots


def test_what_is_too_late_is_missed(clock: SteppedClock) -> None:
    held = Held(clock, "every 10s", missed="all", max_late_s=25)
    held.go_on.set()
    with held:
        clock.advance(10)
        held.becomes((DONE, 1))
    clock.advance(60)
    with held:
        held.becomes((DONE, 1), (MISSED, 3), (DONE, 1), (DONE, 1), (DONE, 1))
        assert held.slots == [10, 50, 60, 70]


def test_two_workers_share_the_slots(clock: SteppedClock) -> None:
    one, two = Held(clock), Held(clock)
    one.go_on.set()
    two.go_on.set()
    with one, two:
        for count in range(1, 11):
            clock.advance(1)
            one.becomes(*[(DONE, 1)] * count)
    assert sorted(one.slots + two.slots) == list(range(1, 11))


def test_jitter_begins_a_slot_later_and_leaves_its_name(clock: SteppedClock) -> None:
    held = Held(clock, "every 60s", jitter_s=30)
    held.go_on.set()
    with held:
        clock.advance(60 + 30)
        held.becomes((DONE, 1))
        assert held.slots == [60]
        (line,) = held.job.slots().lines()
        assert line.claimed is not None
        assert not line.claimed.endswith("01:00.000Z")
