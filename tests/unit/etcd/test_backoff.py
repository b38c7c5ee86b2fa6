"""Waits between attempts."""

from __future__ import annotations

from random import Random

from leasekit.backends.etcd.backoff import Backoff


def test_waits_double_up_to_a_second_and_are_jittered() -> None:
    backoff = Backoff(Random(1))
    waits = [backoff.next_s() for _ in range(200)]
    assert 0.025 <= waits[0] <= 0.05
    assert 0.05 <= waits[1] <= 0.1
    assert all(0.5 <= wait <= 1.0 for wait in waits[6:])
    assert len(set(waits)) == len(waits)


def test_after_a_success_waits_are_short_again() -> None:
    backoff = Backoff(Random(1))
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.05


def test_a_minute_of_failures_is_not_a_storm() -> None:
    backoff = Backoff(Random(2))
    elapsed_s, attempts = 0.0, 0
    while elapsed_s < 60:
        elapsed_s += backoff.next_s()
        attempts += 1
    assert attempts < 100
