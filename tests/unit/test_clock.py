"""Instants on two clocks, of which the more pessimistic one decides."""

from __future__ import annotations

import sys
import time

import pytest

from leasekit import clock
from leasekit.clock import SYSTEM_CLOCK, Instant


@pytest.mark.parametrize(
    ("now", "left_s"),
    [(Instant(10, 10), 5), (Instant(14, 10), 1), (Instant(10, 14), 1), (Instant(15, 10), 0), (Instant(10, 17), -2)],
)
def test_what_is_left_goes_by_the_clock_that_is_further_on(now: Instant, left_s: float) -> None:
    deadline = Instant(10, 10).plus(5)
    assert now.until(deadline) == left_s
    assert now.reached(deadline) == (left_s <= 0)


def test_a_moment_earlier_is_a_negative_duration_later() -> None:
    assert Instant(10, 20).plus(-3) == Instant(7, 17)


def test_the_system_s_clocks_go_on_at_the_same_rate() -> None:
    before, wall = read_at_once(), SYSTEM_CLOCK.wall_s()
    time.sleep(0.05)
    after = read_at_once()
    assert after.boot_s - before.boot_s >= 0.05
    assert after.boot_s - before.boot_s == pytest.approx(after.raw_s - before.raw_s, abs=0.02)
    assert SYSTEM_CLOCK.wall_s() > wall


def read_at_once() -> Instant:
    """Both clocks, with nothing between the one and the other."""
    while True:
        began_s, now = time.perf_counter(), SYSTEM_CLOCK.now()
        if time.perf_counter() - began_s < 0.005:
            return now


@pytest.mark.skipif(sys.platform != "linux", reason="these clocks are Linux's")
def test_on_linux_one_clock_counts_suspend_and_the_other_is_never_slewed() -> None:
    assert clock.source() == "CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW"
    boot, raw = time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC_RAW
    before, now, after = time.clock_gettime(boot), SYSTEM_CLOCK.now(), time.clock_gettime(boot)
    assert before <= now.boot_s <= after
    before, now, after = time.clock_gettime(raw), SYSTEM_CLOCK.now(), time.clock_gettime(raw)
    assert before <= now.raw_s <= after


def test_where_there_is_neither_clock_the_monotonic_one_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_SUSPEND_AWARE", None)
    before, now, after = time.monotonic(), SYSTEM_CLOCK.now(), time.monotonic()
    assert before <= now.boot_s == now.raw_s <= after
    assert clock.source() == "time.monotonic"
