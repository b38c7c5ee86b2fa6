"""A leadership ends when its holder lets go, whatever happens to the holder in that moment."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import uuid

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.core.records import RequestRecord
from leasekit.errors import ConfigError, LossReason
from leasekit.testing import Fault
from support.virtual import World, virtual

LONG_S = 30.0


def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


class Busy:
    """The engine does nothing else while this is entered."""

    def __enter__(self) -> None:
        self._done = threading.Event()
        engine.get().call(self._done.wait)

    def __exit__(self, *_: object) -> None:
        self._done.set()


async def over(leadership: aio.Leadership) -> LossReason | None:
    return await leadership.wait_lost(timeout_s=LONG_S)


async def test_leaving_async_with_by_a_cancellation_that_comes_on_the_way_out_ends_the_leadership() -> None:
    store = url()
    leadership = await aio.Election("reports", store).campaign()

    async def work() -> None:
        async with leadership:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()  # delivered at the next `await`, which is the one that releases

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(work())
    assert await over(leadership) is LossReason.RESIGNED
    async with aio.Election("reports", store).campaign(timeout_s=LONG_S):
        pass


async def test_a_resignation_that_is_cancelled_before_it_began_is_carried_out() -> None:
    leadership = await aio.Election("reports", url()).campaign()
    with Busy():
        resigning = asyncio.ensure_future(leadership.resign())
        await asyncio.sleep(0)
        resigning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resigning
    assert await over(leadership) is LossReason.RESIGNED


def test_an_interrupt_while_with_is_left_ends_the_leadership() -> None:
    leadership = leasekit.Election("reports", url()).campaign()

    def interrupt() -> None:
        while not leadership._letting_go:  # until the main thread waits for the engine, which is busy
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with Busy():
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt), leadership:
            pass
    assert leadership.wait_lost(timeout_s=LONG_S) is LossReason.RESIGNED


# Callbacks.


@virtual
async def test_a_callback_that_fails_keeps_nobody_from_hearing_and_nothing_from_being_removed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    leading, other = world.process(), world.process()
    _, tenure = await leading.leader("a")
    heard: list[LossReason] = []

    def fail(_reason: LossReason) -> None:
        raise RuntimeError("can't start new thread")

    tenure.on_end(fail)
    tenure.on_end(heard.append)
    waiting = asyncio.create_task(other.candidate("b").campaign(once=False, timeout_s=None))
    # Renewals are applied and not confirmed: the lease lives on, and so would the keys on it.
    leading.network.plan = lambda request: Fault.lose_reply(silent=True) if request.kind == "renew" else None
    with caplog.at_level(logging.ERROR, logger="leasekit"):
        await asyncio.wait_for(waiting, timeout=60)
    assert heard == [LossReason.DEADLINE]
    assert "can't start new thread" in caplog.text


# Forks.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_in_the_moment_of_an_ending_leaves_with_without_waiting_for_a_lock_that_nobody_holds() -> None:
    with leasekit.Election("reports", url()).campaign() as leadership:
        # As if an operator had asked for a resignation and the engine were in the midst of noting it.
        leadership.tenure.wish = RequestRecord(leadership.token, "resign", None)
        locked, forked = threading.Event(), threading.Event()

        def hold_the_lock() -> None:
            with leadership.tenure._lock:
                locked.set()
                forked.wait(LONG_S)

        thread = threading.Thread(target=hold_the_lock)
        thread.start()
        assert locked.wait(LONG_S)
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(LONG_S))
            try:
                leadership.__exit__(None, None, None)
                os._exit(0 if engine._engine is None else 1)
            finally:
                os._exit(2)
        forked.set()
        thread.join()
        assert os.waitpid(pid, 0)[1] == 0


# What is told of oneself.


@pytest.mark.parametrize("meta", [{"x": "\ud800"}, {"x": float("nan")}], ids=["half a character", "no number"])
def test_meta_that_other_programs_could_not_read_is_refused_at_once(meta: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        leasekit.Election("reports", url(), meta=meta)
    assert refused.value.field == "meta"


def test_a_fault_in_a_store_s_watch_reaches_the_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    election = leasekit.Election("reports", url())

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("leasekit.backends.memory.MemoryStore.watch", fail)
    heard: list[object] = []

    def observe() -> None:
        try:
            with election.observe() as observer:
                heard.extend(observer)
        except ZeroDivisionError as error:
            heard.append(error)

    thread = threading.Thread(target=observe, daemon=True)
    thread.start()
    thread.join(LONG_S)
    assert isinstance(heard[-1], ZeroDivisionError)
