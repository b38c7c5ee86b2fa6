"""The one background thread: results, errors and cancellation cross it; it ends with the process, without a word."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import subprocess
import sys
import threading
import time
import weakref

import pytest

from leasekit import engine

LONG_S = 30.0


async def value(of: str) -> str:
    await asyncio.sleep(0)
    return of


async def for_ever(cancelled: threading.Event) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        cancelled.set()


def python(code: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """A process of its own, which must end by itself."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s, check=False)


def test_there_is_one_engine_and_it_starts_on_first_use() -> None:
    seen: list[engine.Engine] = []
    threads = [threading.Thread(target=lambda: seen.append(engine.get())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, seen))) == 1
    assert [t.name for t in threading.enumerate()].count("leasekit-engine") == 1


def test_importing_and_connecting_start_no_thread() -> None:
    ended = python(
        "import threading, leasekit, leasekit.aio\n"
        "election = leasekit.Election('reports', leasekit.connect('memory://'))\n"
        "assert threading.active_count() == 1, threading.enumerate()"
    )
    assert ended.returncode == 0, ended.stderr


def test_work_runs_on_the_engine_s_thread() -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert engine.get().run(where()) == "leasekit-engine"


def test_errors_reach_the_caller() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.get().run(fail())


def test_abandoned_work_is_cancelled() -> None:
    cancelled = threading.Event()
    outcome = engine.get().submit(for_ever(cancelled))
    engine.get().run(value("the other has begun"))
    engine.get().abandon(outcome)
    assert cancelled.wait(LONG_S)


def test_work_abandoned_before_it_began_never_begins() -> None:
    begun = threading.Event()

    async def begin() -> None:
        begun.set()

    hold = threading.Event()
    engine.get().call(hold.wait)
    outcome = engine.get().submit(begin())
    assert outcome.cancel()
    hold.set()
    engine.get().run(value("all before it was done"))
    assert not begun.is_set()


def test_a_result_that_came_before_its_work_was_abandoned_is_discarded() -> None:
    discarded: list[str] = []
    outcome = engine.get().submit(value("won"))
    outcome.result()
    engine.get().abandon(outcome, discarded.append)
    assert discarded == ["won"]


def test_a_result_that_comes_in_spite_of_the_cancellation_is_discarded() -> None:
    discarded = threading.Event()

    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "won"

    outcome = engine.get().submit(stubborn())
    engine.get().run(value("the other has begun"))
    engine.get().abandon(outcome, lambda result: discarded.set() if result == "won" else None)
    assert discarded.wait(LONG_S)


def test_a_result_that_was_told_is_the_caller_s_alone() -> None:
    # Else a leadership that its holder drops would be resigned only after what the holder asks for next.
    class Result:
        pass

    later, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        later.set()
        go_on.wait(LONG_S)

    async def work() -> Result:
        asyncio.get_running_loop().call_soon(hold)
        return Result()

    told = weakref.ref(engine.get().run(work()))
    assert later.wait(LONG_S)
    try:
        assert told() is None
    finally:
        go_on.set()


def test_what_is_being_finished_is_heard_of_when_the_process_ends() -> None:
    # Else the end would wait its whole time for a closing that has long been done.
    started, go_on = threading.Event(), asyncio.Event()

    async def work() -> str:
        started.set()
        await go_on.wait()
        return "done"

    another = engine.Engine()
    try:
        outcome = another.finish(work())
        assert started.wait(LONG_S)
        assert another.finishing == [outcome]
        another.hush()
        another.call(go_on.set)
        assert outcome.result(LONG_S) == "done"
        assert another.finishing == []
    finally:
        another.stop()


def test_an_interrupt_before_the_work_was_handed_over_leaves_nothing_to_await(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    work = value("never")
    with monkeypatch.context() as patched:
        patched.setattr(engine.get(), "_submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.get().run(work)
    engine.get().run(value("the loop has come to it"))
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


def test_an_interrupt_while_waiting_cancels_the_work() -> None:
    ended = python(
        "import asyncio, os, signal, threading\n"
        "from leasekit import engine\n"
        "cancelled = threading.Event()\n"
        "async def work():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    try:\n"
        "        await asyncio.sleep(3600)\n"
        "    finally:\n"
        "        cancelled.set()\n"
        "try:\n"
        "    engine.get().run(work())\n"
        "except KeyboardInterrupt:\n"
        "    assert cancelled.wait(30)\n"
        "    print('interrupted')\n"
    )
    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")


def test_a_process_with_leaderships_campaigns_and_observers_ends_quickly_and_without_a_word() -> None:
    ended = python(
        "import leasekit, threading, time\n"
        "store = leasekit.connect('memory://')\n"
        "leadership = leasekit.Election('reports', store, id='a').campaign()\n"
        "waiting = leasekit.Election('reports', store, id='b')\n"
        "threading.Thread(target=waiting.campaign, daemon=True).start()\n"
        "observer = waiting.observe()\n"
        "next(observer)\n"
        "threading.Thread(target=lambda: list(observer), daemon=True).start()\n"
        "while len(waiting.candidates()) < 2: pass\n"
        "leadership.add_lost_callback(lambda reason: print(reason))\n"
        "print(time.monotonic(), flush=True)\n"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - float(ended.stdout.split()[0]) < 15


def test_what_is_held_at_exit_is_given_back() -> None:
    ended = python(
        "import atexit, leasekit\n"
        "from leasekit import engine\n"
        "def look():\n"
        "    async def scan():\n"
        "        from leasekit.backends.memory import MemoryStore\n"
        "        return await MemoryStore('shared').scan('', timeout_s=1)\n"
        "    keys = [e.key for e in engine.get().run(scan()).entries]\n"
        "    print([key for key in keys if not key.endswith('history')])\n"
        "leadership = leasekit.Election('reports', 'memory://shared').campaign()\n"
        "engine.before_exit(look)\n"
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
