"""Letting go, giving up and ending take a bounded time also while the store is down: gone, or silent."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

import leasekit
from leasekit import engine
from support.proxy import Proxy
from support.site import Site
from support.team import now_s, wait_until

# So long that a lease ends in none of these tests: nothing is let go of for want of it.
TTL_S = 60.0
START_S = 30.0
"""To be elected, while all is well."""
BUSY_S = 4.0
"""What a busy machine may take on top."""
EXIT_S = 5.0
"""Closing at exit has 2 s and a second more, the engine 2 s."""

PROGRAM = """
import contextlib, signal, sys, time, leasekit
def main(what):
    if what == "handler":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    store = leasekit.connect(sys.argv[1])
    election = leasekit.Election("team", store, id=sys.argv[2], ttl_s=60)
    if what == "campaign":
        with contextlib.suppress(leasekit.NotElected):
            election.campaign(0.1)
        print("ready", flush=True)
        election.campaign()
    leadership = election.campaign()
    if what == "forget":
        leadership.resign()
        print("ready", flush=True)
        sys.stdin.readline()
        return
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "handler":
        with leadership:
            while True:
                time.sleep(0.05)
    globals()["kept"] = leadership
main(sys.argv[3])
"""


class Way:
    """A link to the store, until it is down."""

    def __init__(self, url: str, down: Callable[[], None]) -> None:
        self.url = url
        self.down = down


@pytest.fixture(params=["silent", "gone"])
def way(request: pytest.FixtureRequest, network_site: Site) -> Iterator[Way]:
    """`silent`: connections stay open and nothing comes; `gone`: nobody listens any more."""
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(network_site.endpoint))
        yield Way(network_site.url_by(proxy.address), proxy.cut if request.param == "silent" else stack.close)


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    began_s = now_s()
    yield
    took_s = now_s() - began_s
    assert took_s < limit_s + BUSY_S, f"took {took_s:.1f} s, {limit_s} s were promised"


def test_closing_ends_the_leadership_in_time(way: Way) -> None:
    store = leasekit.connect(way.url)
    leadership = leasekit.Election("team", store, ttl_s=TTL_S).campaign(START_S)
    way.down()
    with within(0.5):
        store.close(timeout_s=0.5)
    assert leadership.reason is leasekit.LossReason.CLOSED


def test_resigning_ends_belief_at_once_and_returns_in_time(way: Way) -> None:
    store = leasekit.connect(way.url)
    leadership = leasekit.Election("team", store, ttl_s=TTL_S).campaign(START_S)
    way.down()
    with within(0.5):
        leadership.resign(timeout_s=0.5)
    assert leadership.reason is leasekit.LossReason.RESIGNED
    with within(0.5):
        store.close(timeout_s=0.5)


def test_leaving_the_block_returns_in_time(way: Way) -> None:
    with leasekit.connect(way.url) as store, ExitStack() as block:
        block.enter_context(leasekit.Election("team", store, ttl_s=TTL_S).campaign(START_S))
        way.down()
        with within(5):
            block.close()


def test_a_campaign_gives_up_in_time(way: Way) -> None:
    with leasekit.connect(way.url) as store:
        way.down()
        election = leasekit.Election("team", store, ttl_s=TTL_S)
        with within(0.5), pytest.raises(leasekit.NotElected):
            election.campaign(0.5)
        with within(5), pytest.raises(leasekit.StoreUnavailable):
            election.try_campaign()
        with within(5), pytest.raises(leasekit.StoreUnavailable):
            election.leader()


async def test_a_cancelled_campaign_ends_at_once(way: Way) -> None:
    async with leasekit.aio.connect(way.url) as store:
        way.down()

        async def campaign() -> None:
            async with leasekit.aio.Election("team", store, ttl_s=TTL_S).campaign():
                raise AssertionError("nobody can be elected")

        task = asyncio.create_task(campaign())
        await asyncio.sleep(0.3)
        with within(0.1):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert task.cancelled()


Program = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def program(way: Way) -> Iterator[Program]:
    """Starts a program that uses the library in a plain way; returns once it says that it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, way.url, what, what]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _ended(process: subprocess.Popen[str], text: str | None = None) -> tuple[int, str]:
    """Its exit code and what it said on standard error."""
    with within(EXIT_S):
        _, errors = process.communicate(text, timeout=30)
    return process.returncode, errors


def test_ctrl_c_ends_a_campaign(way: Way, program: Program) -> None:
    way.down()
    process = program("campaign")
    process.send_signal(signal.SIGINT)
    code, errors = _ended(process)
    assert code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1


def test_sigterm_ends_a_campaign(way: Way, program: Program) -> None:
    way.down()
    process = program("campaign")
    process.send_signal(signal.SIGTERM)
    assert _ended(process) == (-signal.SIGTERM, "")


def test_a_leaders_program_ends_by_a_handler_for_sigterm(way: Way, program: Program) -> None:
    process = program("handler")
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()
    way.down()
    process.send_signal(signal.SIGTERM)
    # Leaving `with` tells the store for 5 s at most.
    with within(5.0 + EXIT_S):
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (3, "")


def test_a_program_that_comes_to_its_end_while_it_leads_ends(way: Way, program: Program) -> None:
    process = program("end")
    way.down()
    assert _ended(process, "go on\n") == (0, "")


def test_a_program_that_comes_to_its_end_hands_over_at_once_while_the_store_is_up(
    network_site: Site, program: Program
) -> None:
    process = program("end")
    assert _ended(process, "go on\n") == (0, "")
    election = leasekit.Election("team", network_site.store, ttl_s=TTL_S)
    with within(1), election.campaign(10) as leadership:
        assert leadership.valid


def test_a_program_that_forgets_to_close_gives_back_its_lease_and_says_nothing(way: Way, program: Program) -> None:
    process = program("forget")
    assert _ended(process, "go on\n") == (0, "")


def test_a_connection_that_nobody_holds_any_more_gives_back_its_lease(network_site: Site) -> None:
    store = leasekit.connect(network_site.url)
    with leasekit.Election("team", store, ttl_s=TTL_S).campaign(START_S) as leadership:
        here = network_site.store.connection.store
        leader = engine.get().run(here.get("team/leader", timeout_s=5))
        assert leader is not None
        assert leader.lease_id is not None
        assert leadership.valid
    del store, leadership

    def gone() -> bool:
        try:
            engine.get().run(here.renew(leader.lease_id or "", timeout_s=5))
        except leasekit.LeaseLost:
            return True
        except (leasekit.StoreUnavailable, leasekit.OutcomeUnknown):
            pass  # it is asked again
        return False

    wait_until(gone, START_S, "the lease is gone", str)
