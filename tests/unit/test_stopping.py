"""What each `stop` policy does when time runs short: the work ends before another can lead."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

import leasekit
from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import LeadershipLost, LossReason
from support.binaries import REPOSITORY
from support.faulty import Faulty

TTL_S = 6.0
GRACE_S = 3.5
"""So much may the machine be busy with other things when the work is to stop."""
LONG_S = 30.0


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    yield faulty
    faulty.store.close(timeout_s=0.5)


def test_the_grace_is_a_third_of_the_ttl_and_five_seconds_at_most() -> None:
    from leasekit.stopping import default_grace_s

    assert [default_grace_s(ttl_s) for ttl_s in (3, 15, 60)] == [1, 5, 5]


async def test_cancel_begins_the_grace_before_the_deadline(faulty: Faulty) -> None:
    left_s: list[float] = []

    @leasekit.singleton("nightly", store=faulty.store, ttl_s=TTL_S, grace_s=GRACE_S)
    async def job() -> None:
        leadership = leasekit.aio.current()
        faulty.order("go_down")
        try:
            await asyncio.sleep(60)
        finally:
            left_s.append(leadership.remaining_s)

    with pytest.raises(LeadershipLost) as lost:
        await job()
    assert lost.value.reason is LossReason.DEADLINE
    assert 0 < left_s[0] <= GRACE_S


def test_interrupt_begins_the_grace_before_the_deadline(faulty: Faulty) -> None:
    left_s: list[float] = []

    @leasekit.singleton("nightly", store=faulty.store, ttl_s=TTL_S, grace_s=GRACE_S, stop="interrupt")
    def job() -> None:
        leadership = leasekit.current()
        faulty.order("go_down")
        try:
            while True:
                time.sleep(0.01)
        finally:
            left_s.append(leadership.remaining_s)

    with pytest.raises(LeadershipLost) as lost:
        job()
    assert lost.value.reason is LossReason.DEADLINE
    assert 0 < left_s[0] <= GRACE_S


async def test_renewals_go_on_while_the_work_is_being_stopped(faulty: Faulty) -> None:
    ended = False

    @leasekit.singleton("nightly", store=faulty.store, ttl_s=TTL_S, grace_s=GRACE_S)
    async def job() -> None:
        nonlocal ended
        leadership = leasekit.aio.current()
        faulty.order("go_down")
        try:
            await asyncio.sleep(60)
        finally:
            faulty.order("come_up")
            first = leadership.tenure.deadline
            assert first is not None
            while leadership.valid and not SYSTEM_CLOCK.now().reached(first):
                await asyncio.sleep(0.01)
            assert leadership.valid
            ended = True

    with pytest.raises(LeadershipLost):
        await job()
    assert ended


def test_check_lets_the_work_go_on_until_it_asks(faulty: Faulty) -> None:
    @leasekit.singleton("nightly", store=faulty.store, ttl_s=TTL_S)
    def job() -> None:
        leadership = leasekit.current()
        faulty.order("go_down")
        while (deadline := leadership.tenure.deadline) is not None:
            last = deadline
            time.sleep(0.01)
        assert SYSTEM_CLOCK.now().reached(last)
        leadership.check()

    with pytest.raises(LeadershipLost) as lost:
        job()
    assert lost.value.reason is LossReason.DEADLINE


EXITING = """
import os, signal, sys, time
sys.path.insert(0, "tests")
import leasekit
from support.faulty import Faulty

faulty = Faulty("memory://")

def term(*_):
    print(f"{leasekit.current().remaining_s:.2f}", flush=True)
    if "stubborn" not in sys.argv:
        sys.exit(5)

if "default" not in sys.argv:
    signal.signal(signal.SIGTERM, term)

if "blocked" in sys.argv:
    import logging, threading
    handler = logging.StreamHandler()
    handler.emit = lambda record: threading.Event().wait()
    logging.getLogger("leasekit").addHandler(handler)

@leasekit.singleton("nightly", store=faulty.store, ttl_s=6, grace_s=3.5, stop="exit")
def job():
    if "quick" in sys.argv:
        return
    faulty.order("go_down")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)

for _ in range(50 if "quick" in sys.argv else 1):
    job()
"""


def exiting(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", EXITING, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_terminates_the_process_the_grace_before_the_deadline() -> None:
    ended = exiting()
    assert ended.returncode == 5, ended.stderr
    assert 0 < float(ended.stdout) <= GRACE_S


def test_exit_ends_a_process_that_does_not_heed_it_by_the_deadline() -> None:
    ended = exiting("stubborn")
    assert ended.returncode == 79, ended.stderr
    assert 0 < float(ended.stdout.split()[0]) <= GRACE_S


def test_exit_says_why_the_process_ends() -> None:
    ended = exiting("default")
    assert ended.returncode == -signal.SIGTERM
    (said,) = [line for line in ended.stderr.splitlines() if "this process ends" in line]
    assert "'nightly'" in said and "deadline" in said


def test_exit_does_not_wait_for_a_log_that_blocks() -> None:
    ended = exiting("blocked", "stubborn")
    assert ended.returncode == 79, ended.stderr
    assert 0 < float(ended.stdout.split()[0]) <= GRACE_S


def test_exit_does_nothing_to_a_process_whose_work_has_ended() -> None:
    ended = exiting("quick")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_ctrl_c_ends_interruptible_work_before_the_leadership_is_released() -> None:
    code = """
import leasekit, time
store = leasekit.connect("memory://ctrl-c")

@leasekit.singleton("nightly", store=store, stop="interrupt")
def job():
    try:
        print("at work", flush=True)
        while True:
            time.sleep(0.01)
    finally:
        time.sleep(0.3)
        print(leasekit.Election("nightly", store).leader() is not None, flush=True)

try:
    job()
except KeyboardInterrupt:
    print(leasekit.Election("nightly", store).leader(), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (out, errors) == ("True\nNone\n", "")


@pytest.mark.parametrize("begun", [True, False], ids=["work has begun", "work has not begun"])
def test_ctrl_c_while_the_works_thread_is_starting_leaves_no_work_behind(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = leasekit.connect("memory://")
    seen: list[object] = []
    at_work = threading.Event()

    @leasekit.singleton("nightly", store=store, stop="interrupt")
    def job() -> None:
        try:
            at_work.set()
            while True:
                time.sleep(0.01)
        finally:
            seen.append(leasekit.current().valid)

    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        if self.name != "leasekit-job":
            return start(self)
        if begun:
            start(self)
            assert at_work.wait(LONG_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job()
    assert seen == ([True] if begun else [])
    assert leasekit.Election("nightly", store).leader() is None
    store.close()


def test_the_stop_signal_tells_whoever_listens_from_wherever_it_comes(faulty: Faulty) -> None:
    from leasekit.stopping import StopSignal

    with leasekit.Election("nightly", faulty.store, ttl_s=TTL_S).campaign() as leadership:
        stop = StopSignal(leadership.tenure, GRACE_S)
        told = threading.Event()
        stop.on_news(told.set)
        assert stop.reason is None
        assert 0 < stop.next_look_s() <= 0.1
        leadership.tenure.end(LossReason.SUPERSEDED)
        assert told.wait(LONG_S)
        assert stop.reason is LossReason.SUPERSEDED
        again = threading.Event()
        stop.on_news(again.set)
        assert again.is_set()
