"""`leasekit run`: its command never runs beside the next holder's, whatever happens to leasekit or to its link.

The commands write down when they ran, and are judged as leaders are: two at one moment are one too many.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.command import Command, Running
from support.evidence import Evidence, Reign, assert_safe
from support.proxy import Proxy
from support.site import Site
from support.team import SLACK_S, wait_until

TTL_S = 4.0
# Deaf to TERM, so that only a KILL in time ends it. It knows nothing of its leadership but the token.
COMMAND = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
own = {"id": os.environ["LEASEKIT_ID"], "token": int(os.environ["LEASEKIT_TOKEN"]), "pid": os.getpid()}
record = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def write(what):
    at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    os.write(record, (json.dumps({"what": what, "asked_s": at_s, "answered_s": at_s, **own}) + "\\n").encode())
write("elected")
while True:
    write("valid")
    time.sleep(0.002)
"""


class Runs:
    """Several `leasekit run` of one election, each with a link of its own to the store."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self.site = site
        self.evidence = Evidence(site.folder / "record")
        self.links: dict[str, Proxy] = {}
        self._stack = stack
        self._commands: dict[str, Running] = {}

    def start(self, id: str) -> None:
        url = self.site.url
        if self.site.server is not None:
            self.links[id] = self._stack.enter_context(Proxy(self.site.endpoint))
            url = self.site.url_by(self.links[id].address)
        folder = self.site.folder / id
        folder.mkdir()
        command = Command(url, folder)
        self._stack.callback(command.close)
        child = (sys.executable, "-S", "-c", COMMAND, str(self.site.folder / "record"))
        self._commands[id] = command.start("run", "job", "--ttl", str(TTL_S), "--id", id, "--", *child)

    def __getitem__(self, id: str) -> Running:
        return self._commands[id]

    def next(self, after: Reign | None = None) -> Reign:
        """The first command that runs with a higher token."""

        def found() -> Reign | None:
            self.evidence.read()
            reigns = self.evidence.reigns.values()
            return next((r for r in reigns if r.since_s and r.token > (after.token if after else 0)), None)

        within_s = self.site.capabilities.expires_within_s(TTL_S) + SLACK_S
        return wait_until(found, within_s, "the next command runs", self._account)

    def _account(self) -> str:
        said = {str(file): file.read_text() for file in self.site.folder.glob("*/stderr-*")}
        return f"{self.evidence.events}\n{said}"


@pytest.fixture
def runs(site: Site) -> Iterator[Runs]:
    """On each store that processes can share."""
    yield from _runs(site)


@pytest.fixture
def network_runs(network_site: Site) -> Iterator[Runs]:
    """On each store that has links to be cut."""
    yield from _runs(network_site)


def _runs(site: Site) -> Iterator[Runs]:
    with ExitStack() as stack:
        runs = Runs(site, stack)
        yield runs
    runs.evidence.read()
    assert_safe(list(runs.evidence.reigns.values()))


def _stop(runs: Runs, id: str) -> None:
    runs[id].signal(signal.SIGSTOP)


def _kill(runs: Runs, id: str) -> None:
    runs[id].signal(signal.SIGKILL)


def _kill_the_watchdog(runs: Runs, id: str) -> None:
    pid = runs[id].pid
    (watchdog,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(watchdog), signal.SIGKILL)


@pytest.mark.parametrize("fail", [_stop, _kill, _kill_the_watchdog], ids=["stop", "kill", "kill watchdog"])
def test_the_next_command_starts_only_when_the_last_has_ended(runs: Runs, fail: Callable[[Runs, str], None]) -> None:
    reign = _lead(runs)
    fail(runs, reign.id)
    assert runs.next(after=reign).id != reign.id
    if fail is _stop:
        # Woken up, it finds its command dead and does not start another.
        runs[reign.id].signal(signal.SIGCONT)
    assert runs[reign.id].end().code == (-signal.SIGKILL if fail is _kill else 79)


def test_the_next_command_starts_only_when_that_of_a_host_cut_off_has_ended(network_runs: Runs) -> None:
    runs = network_runs
    reign = _lead(runs)
    runs.links[reign.id].cut()
    assert runs.next(after=reign).id != reign.id
    assert runs[reign.id].end().code == 79


def _lead(runs: Runs) -> Reign:
    """The first command that runs, with two more candidates behind it."""
    for id in ("first", "second", "third"):
        runs.start(id)
    return runs.next()
