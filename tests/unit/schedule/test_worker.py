"""Workers in threads: what becomes of a run, and how serving ends. Slots come when the test says so."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import leasekit
from leasekit import engine
from leasekit.errors import AuthError, ConfigError, FencingRejected, LeadershipLost, LossReason, ProtocolError
from leasekit.schedule.current import current_run
from leasekit.schedule.records import Line, Outcome
from leasekit.schedule.serving import serve_in_threads
from leasekit.schedule.slots import Slots
from leasekit.schedule.threads import ThreadWorker, Work
from leasekit.store import Delete
from support.fed_slots import FedSlots

LONG_S = 50.0


@pytest.fixture
def store() -> Iterator[leasekit.ConnectedStore]:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as connected:
        yield connected


@pytest.fixture
def slots(store: leasekit.ConnectedStore) -> FedSlots:
    return FedSlots("nightly", store, overlap="queue_one")


def worker(slots: FedSlots, function: Callable[[], Any], policy: str = "check") -> ThreadWorker:
    return ThreadWorker(cast(Slots, slots), Work(function, policy, 1.0))


class Serving:
    """`serve` in a thread of its own, so that the test can go on; `end` returns what it raised."""

    def __init__(self, *workers: ThreadWorker, drain_s: float | None = None) -> None:
        self.stop = threading.Event()
        self._drain_s = drain_s
        self._workers = workers
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            serve_in_threads(self._workers, self.stop, self._drain_s)
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self._error = error

    def end(self) -> BaseException | None:
        self.stop.set()
        return self.ended()

    def ended(self) -> BaseException | None:
        self._thread.join(LONG_S)
        assert not self._thread.is_alive(), "serving goes on"
        return self._error


def wait_for(condition: Callable[[], Any]) -> None:
    give_up_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)


def until_finished(slots: FedSlots, count: int) -> list[Line]:
    """The lines, once so many runs have an end."""
    wait_for(lambda: sum(line.outcome is not Outcome.CLAIMED for line in slots.lines()) >= count)
    return slots.lines()


def depose(store: leasekit.ConnectedStore) -> None:
    """Take the leadership away from whoever has it."""

    async def delete() -> None:
        await store.connection.store.transact([], [Delete("nightly/leader")], timeout_s=1)

    engine.get().run(delete())


# What becomes of a run.


def test_a_run_knows_its_slot_and_leads(slots: FedSlots) -> None:
    seen: list[tuple[Any, ...]] = []

    def job() -> None:
        run, leadership = current_run(), leasekit.current()
        seen.append((run.name, run.slot, run.attempt, run.token, leadership.token, leadership.valid))

    serving = Serving(worker(slots, job))
    fed = [slots.feed(), slots.feed()]
    lines = until_finished(slots, 2)
    assert serving.end() is None
    assert [(line.slot, line.outcome) for line in lines] == [(slot, Outcome.DONE) for slot in fed]
    tokens = [line.token for line in lines]
    assert seen == [("nightly", slot, 1, token, token, True) for slot, token in zip(fed, tokens, strict=True)]
    with pytest.raises(LookupError):
        current_run()


def test_a_job_that_raises_has_failed_and_the_next_slot_is_run(
    slots: FedSlots, caplog: pytest.LogCaptureFixture
) -> None:
    results = iter([ZeroDivisionError("as\nusual"), None])

    def job() -> None:
        if (error := next(results)) is not None:
            raise error

    serving = Serving(worker(slots, job))
    slots.feed()
    until_finished(slots, 1)
    slots.feed()
    lines = until_finished(slots, 2)
    assert serving.end() is None
    assert [line.outcome for line in lines] == [Outcome.FAILED, Outcome.DONE]
    assert lines[0].detail == "ZeroDivisionError: as usual"
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR and "nightly" in record.message]
    assert logged.exc_info is not None and isinstance(logged.exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize("policy", ["check", "interrupt"])
def test_a_run_whose_leadership_is_lost_is_stopped_and_lost(
    store: leasekit.ConnectedStore, slots: FedSlots, policy: str
) -> None:
    ended = threading.Event()

    def job() -> None:
        try:
            depose(store)  # interrupted perhaps before it has returned
            while True:
                if policy == "check":
                    leasekit.current().check()
                time.sleep(0.005)
        finally:
            ended.set()

    serving = Serving(worker(slots, job, policy))
    slots.feed()
    assert ended.wait(LONG_S)
    (line,) = until_finished(slots, 1)
    assert serving.end() is None
    assert (line.outcome, line.detail) == (Outcome.LOST, "superseded")


def test_what_a_job_raises_after_the_loss_says_nothing_of_the_job(
    store: leasekit.ConnectedStore, slots: FedSlots
) -> None:
    def job() -> None:
        depose(store)
        assert leasekit.current().wait_lost(LONG_S) is LossReason.SUPERSEDED
        raise RuntimeError("my own way to stop")

    serving = Serving(worker(slots, job))
    slots.feed()
    (line,) = until_finished(slots, 1)
    assert serving.end() is None
    assert line.outcome is Outcome.LOST


def test_a_fence_that_refuses_the_run_s_token_tells_of_a_loss(slots: FedSlots) -> None:
    def job() -> None:
        raise FencingRejected(current_run().token, current_run().token + 1)

    serving = Serving(worker(slots, job))
    slots.feed()
    (line,) = until_finished(slots, 1)
    assert serving.end() is None
    assert line.outcome is Outcome.LOST
    assert line.detail is not None and "refused" in line.detail


def test_the_loss_of_another_leadership_is_a_failure_of_the_job(slots: FedSlots) -> None:
    def job() -> None:
        raise LeadershipLost(LossReason.EXPIRED, election="another", token=1_000_000)

    serving = Serving(worker(slots, job))
    slots.feed()
    (line,) = until_finished(slots, 1)
    assert serving.end() is None
    assert line.outcome is Outcome.FAILED


def test_a_long_run_holds_up_no_other_job(store: leasekit.ConnectedStore, slots: FedSlots) -> None:
    hourly, go_on = FedSlots("hourly", store), threading.Event()
    serving = Serving(worker(slots, lambda: go_on.wait(LONG_S)), worker(hourly, lambda: None))
    slots.feed()
    wait_for(lambda: slots.lines())
    hourly.feed()
    until_finished(hourly, 1)
    assert [line.outcome for line in slots.lines()] == [Outcome.CLAIMED]
    go_on.set()
    until_finished(slots, 1)
    assert serving.end() is None


# The end of serving.


def test_stop_waits_for_the_run_and_claims_no_more(slots: FedSlots) -> None:
    began, go_on = threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        go_on.wait(LONG_S)

    serving = Serving(worker(slots, job))
    slots.feed()
    assert began.wait(LONG_S)
    serving.stop.set()
    wait_for(lambda: slots.serving_ended)
    slots.feed()
    assert [line.outcome for line in slots.lines()] == [Outcome.CLAIMED]
    go_on.set()
    assert serving.ended() is None
    assert [line.outcome for line in slots.lines()] == [Outcome.DONE]


def test_stop_before_it_began_returns_at_once(slots: FedSlots) -> None:
    stop = threading.Event()
    stop.set()
    serve_in_threads([worker(slots, lambda: None)], stop, None)
    assert slots.lines() == []


@pytest.mark.parametrize("policy", ["check", "interrupt", "process"])
def test_runs_that_outlast_the_drain_are_stopped_by_their_policy_and_lost(
    store: leasekit.ConnectedStore, slots: FedSlots, policy: str
) -> None:
    serving = Serving(worker(slots, check_for_ever if policy == "check" else sleep_for_ever, policy), drain_s=0.1)
    slots.feed()
    wait_for(lambda: slots.lines())
    assert serving.end() is None
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.LOST, "resigned")]
    assert leasekit.Election("nightly", store).leader() is None


def check_for_ever() -> None:
    while True:
        leasekit.current().check()
        time.sleep(0.005)


def sleep_for_ever() -> None:
    while True:
        time.sleep(0.005)


def test_an_interrupt_stops_the_runs_and_goes_on_its_way(slots: FedSlots) -> None:
    main = threading.main_thread()
    assert threading.current_thread() is main and main.ident is not None
    number = main.ident

    def job() -> None:
        signal.pthread_kill(number, signal.SIGINT)
        check_for_ever()

    slots.feed()
    with pytest.raises(KeyboardInterrupt):
        serve_in_threads([worker(slots, job)], None, None)
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


class InterruptedAtItsStart(ThreadWorker):
    """Ctrl-C comes when its thread is at work already, and `start` has not returned."""

    def start(self, news: Callable[[], object]) -> None:
        super().start(news)
        while not self._runs:
            time.sleep(0.001)
        raise KeyboardInterrupt


def test_an_interrupt_amid_the_start_waits_for_what_has_begun(slots: FedSlots) -> None:
    slots.feed()
    with pytest.raises(KeyboardInterrupt):
        serve_in_threads([InterruptedAtItsStart(cast(Slots, slots), Work(check_for_ever, "check", 1.0))], None, None)
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


def test_a_second_interrupt_does_not_wait_for_a_run_that_cannot_be_stopped(slots: FedSlots) -> None:
    number, go_on = threading.main_thread().ident, threading.Event()
    assert number is not None

    def job() -> None:
        leadership = leasekit.current()
        signal.pthread_kill(number, signal.SIGINT)
        leadership.wait_lost(LONG_S)
        signal.pthread_kill(number, signal.SIGINT)
        go_on.wait(LONG_S)

    slots.feed()
    serving = worker(slots, job)
    with pytest.raises(KeyboardInterrupt):
        serve_in_threads([serving], None, None)
    assert not serving.over.is_set()
    go_on.set()
    assert serving.over.wait(LONG_S)
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST]


def test_a_job_that_exits_ends_serving_when_the_others_have_ended(
    store: leasekit.ConnectedStore, slots: FedSlots
) -> None:
    hourly, began, go_on = FedSlots("hourly", store), threading.Event(), threading.Event()

    def long() -> None:
        began.set()
        go_on.wait(LONG_S)

    def leave() -> None:
        began.wait(LONG_S)
        raise SystemExit(3)

    serving = Serving(worker(slots, leave), worker(hourly, long))
    hourly.feed()
    slots.feed()
    (line,) = until_finished(slots, 1)
    assert (line.outcome, line.detail) == (Outcome.FAILED, "SystemExit: 3")
    go_on.set()
    error = serving.ended()
    assert isinstance(error, SystemExit) and error.code == 3
    assert [line.outcome for line in hourly.lines()] == [Outcome.DONE]


@pytest.mark.parametrize(
    "error", [ConfigError("schedule", "is wrong"), AuthError("no such user"), ProtocolError("what is this?")]
)
def test_errors_that_waiting_does_not_mend_end_serving(
    store: leasekit.ConnectedStore, slots: FedSlots, error: Exception
) -> None:
    hourly = FedSlots("hourly", store)
    serving = Serving(worker(slots, lambda: None), worker(hourly, lambda: None))
    slots.fail(error)
    assert serving.ended() is error


def test_a_run_for_which_no_thread_is_to_be_had_is_let_go_of_and_ends_serving(
    store: leasekit.ConnectedStore, slots: FedSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("leasekit-run-"):
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    serving = Serving(worker(slots, lambda: None))
    slots.feed()
    assert isinstance(serving.ended(), RuntimeError)
    assert leasekit.Election("nightly", store).leader() is None
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.LOST, "stopped before it began")]


# At least once.


def test_a_lost_run_can_be_attempted_again_under_a_higher_token(store: leasekit.ConnectedStore) -> None:
    slots, lose = FedSlots("nightly", store, guarantee="at_least_once"), threading.Event()
    lose.set()

    def job() -> None:
        if lose.is_set():
            depose(store)
            leasekit.current().wait_lost(LONG_S)
            lose.clear()

    serving = Serving(worker(slots, job))
    slot = slots.feed()
    wait_for(lambda: not lose.is_set())
    slots.feed(slot)
    until_finished(slots, 2)
    assert serving.end() is None
    first, second = slots.lines()
    assert (first.slot, first.attempt, first.outcome) == (slot, 1, Outcome.LOST)
    assert (second.slot, second.attempt, second.outcome) == (slot, 2, Outcome.DONE)
    assert first.token is not None and second.token is not None and second.token > first.token


def test_a_run_that_was_stopped_with_its_worker_can_be_attempted_again(store: leasekit.ConnectedStore) -> None:
    slots = FedSlots("nightly", store, guarantee="at_least_once")
    serving = Serving(worker(slots, check_for_ever), drain_s=0)
    slot = slots.feed()
    wait_for(lambda: slots.lines())
    assert serving.end() is None
    again = slots.real.claim(slot)
    assert again is not None
    with again:
        assert again.attempt == 2
    assert [line.outcome for line in slots.lines()] == [Outcome.LOST, Outcome.DONE]


def test_a_run_that_an_operator_ended_is_not_attempted_again(store: leasekit.ConnectedStore) -> None:
    slots = FedSlots("nightly", store, guarantee="at_least_once")
    serving = Serving(worker(slots, check_for_ever))
    slot = slots.feed()
    wait_for(lambda: slots.lines())
    assert leasekit.Election("nightly", store).ask_to_resign(LONG_S)
    until_finished(slots, 1)
    assert serving.end() is None
    assert slots.real.claim(slot) is None
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.LOST, "resigned")]


def test_a_run_that_an_operator_ended_before_its_work_began_is_not_attempted_again(
    store: leasekit.ConnectedStore,
) -> None:
    slots = FedSlots("nightly", store, guarantee="at_least_once")
    slot = slots.feed()
    run = slots.real.claim(slot)
    assert run is not None
    assert leasekit.Election("nightly", store).ask_to_resign(LONG_S)
    with run:
        assert not run.leadership.valid
    assert slots.real.claim(slot) is None
    assert [(line.outcome, line.detail) for line in slots.lines()] == [(Outcome.LOST, "resigned")]


# Processes.


def in_process() -> None:
    run = current_run()
    assert (run.token, run.attempt, run.name) == (leasekit.current().token, 1, "nightly")
    assert os.getpid() != int(os.environ["TEST_SERVING_PID"])
    with pytest.raises(ConfigError, match="parent"):
        run.finish(Outcome.DONE)
    raise ValueError(f"{run.slot:%H:%M:%S}")


def test_a_run_in_a_process_knows_its_slot(slots: FedSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SERVING_PID", str(os.getpid()))
    serving = Serving(worker(slots, in_process, "process"))
    slot = slots.feed()
    (line,) = until_finished(slots, 1)
    assert serving.end() is None
    assert (line.outcome, line.detail) == (Outcome.FAILED, f"ValueError: {slot:%H:%M:%S}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_a_run_writes_nothing(tmp_path: Path) -> None:
    codes: list[int] = []

    def job() -> None:
        if (pid := os.fork()) == 0:
            return  # the child goes the job's way out
        codes.append(os.waitpid(pid, 0)[1])

    with leasekit.connect(f"sqlite:///{tmp_path}/leases.db") as store:
        slots = FedSlots("nightly", store)
        serving = Serving(worker(slots, job))
        slots.feed()
        (line,) = until_finished(slots, 1)
        assert serving.end() is None
    assert line.outcome is Outcome.DONE
    assert codes == [0]
