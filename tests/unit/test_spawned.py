"""`stop="process"`: the function runs in a process that the watchdog can kill."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import leasekit
from support import spawned_jobs as jobs


def test_the_function_runs_in_another_process_under_the_same_leadership() -> None:
    result = jobs.whoami("hello")
    assert result is not None
    greeting, token, pid, valid = result
    assert (greeting, valid) == ("hello", True)
    assert token > 0
    assert pid != os.getpid()


def test_renewals_reach_the_process() -> None:
    assert jobs.hears_of_a_renewal() is True


def test_an_error_is_raised_here() -> None:
    with pytest.raises(LookupError, match="as it should"):
        jobs.fails()


def test_a_process_that_vanishes_is_an_error_that_tells_its_code() -> None:
    with pytest.raises(ChildProcessError, match="ended with code 7"):
        jobs.vanishes()


def test_a_result_that_cannot_be_pickled_is_told() -> None:
    with pytest.raises(leasekit.ConfigError, match="the result is pickled"):
        jobs.returns_what_cannot_be_sent()


def test_arguments_that_cannot_be_pickled_are_told_and_free_the_leadership() -> None:
    with pytest.raises(leasekit.ConfigError, match="the arguments must be picklable"):
        jobs.whoami(jobs.Unsendable())  # type: ignore[arg-type]
    assert leasekit.Election("whoami", jobs.STORE, ttl_s=jobs.TTL_S).leader() is None


def test_a_closure_is_refused_when_it_is_decorated() -> None:
    with pytest.raises(leasekit.ConfigError, match="module level"):

        @leasekit.singleton("closure", store=jobs.STORE, stop="process")
        def closure() -> None: ...


def test_a_stubborn_function_and_its_children_are_dead_before_the_leadership_is_released(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ask = _in_thread(lambda: _ask_to_resign_once("stubborn", pids))
    with pytest.raises(leasekit.LeadershipLost) as lost:
        jobs.stubborn(str(pids))
    dead = [not Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()]
    ask.join()
    assert lost.value.reason is leasekit.LossReason.RESIGNED
    assert dead == [True, True]


def test_finally_blocks_run_within_the_grace(tmp_path: Path) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    ask = _in_thread(lambda: _ask_to_resign_once("cleans", started))
    with pytest.raises(leasekit.LeadershipLost):
        jobs.cleans_up(str(started), str(cleaned))
    ask.join()
    assert cleaned.exists()


def _ask_to_resign_once(election: str, sign: Path) -> None:
    while not sign.exists() or (sign.name == "pids" and not sign.read_text()):
        time.sleep(0.01)
    leasekit.Election(election, jobs.STORE, ttl_s=jobs.TTL_S).ask_to_resign()


def _in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread
