"""Candidates in processes of their own (`tests/scenarios/worker.py`), and what they believed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import leasekit
from leasekit import engine
from leasekit.clock import SYSTEM_CLOCK
from leasekit.core import queue as core_queue
from leasekit.election import candidate_of, leader_of
from support.evidence import Event, Evidence, Reign, assert_safe
from support.pausing import pause

T = TypeVar("T")

WORKER = Path(__file__).resolve().parents[1] / "scenarios" / "worker.py"
SLACK_S = 60.0
"""What a busy machine may take on top of what is promised. For progress alone: safety is judged without any."""
_POLL_S = 0.01
_POLL_STORE_S = 0.03


def now_s() -> float:
    """This moment, on the clock that candidates write down."""
    return SYSTEM_CLOCK.now().boot_s


def wait_until(
    what: Callable[[], T | None], timeout_s: float, means: str, account: Callable[[], str], *, poll_s: float = _POLL_S
) -> T:
    """Ask until `what()` is something; returns that. Fails after `timeout_s` with an account of what was seen."""
    give_up_s = now_s() + timeout_s
    while True:
        if found := what():
            return found
        assert now_s() < give_up_s, f"not within {timeout_s:.1f} s: {means}\n{account()}"
        time.sleep(poll_s)


class Place(NamedTuple):
    """A place in the queue. Who leaves it and queues again has another one."""

    id: str
    since_revision: int


class Candidate:
    """One process."""

    def __init__(self, id: str, process: subprocess.Popen[str], output: Path, store_url: str) -> None:
        self.id = id
        self._store_url = store_url
        self.process = process
        self.output = output

    def tell(self, order: str) -> None:
        """`resign`, or `transfer ID`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def dismiss(self) -> None:
        """Let it end in its own way, by closing its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        pause(self.process.pid, self._store_url)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.dismiss()


class Team:
    """Candidates of one election. A context manager: at its end all are killed, and what they wrote is judged."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        ttl_s: float,
        election: str = "team",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.ttl_s = ttl_s
        self.election = election
        self.candidates: dict[str, Candidate] = {}
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._record = folder / f"{election}.jsonl"
        self._evidence = Evidence(self._record)

    def start(self, id: str, *options: str, url: str | None = None, wrapper: Sequence[str] = ()) -> Candidate:
        """One more candidate; returns at once. `wrapper`: what the command line is put after."""
        output = self._folder / f"{id}.out"
        command = [*wrapper, sys.executable, str(WORKER), url or self.url, self.election, str(self._record)]
        command += ["--id", id, "--ttl", str(self.ttl_s), *options]
        with output.open("a") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=file, text=True, env=self._environment
            )
        self.candidates[id] = Candidate(id, process, output, url or self.url)
        return self.candidates[id]

    # What they did.

    def wait_for(self, what: Callable[[], T | None], timeout_s: float, means: str, *, poll_s: float = _POLL_S) -> T:
        """Read on until `what()` is something; returns that. Fails after `timeout_s` with what was seen."""

        def look() -> T | None:
            self._evidence.read()
            return what()

        return wait_until(look, timeout_s, means, self.account, poll_s=poll_s)

    def wait_valid(self, *, above: int = 0, id: str | None = None, timeout_s: float = SLACK_S) -> Reign:
        """The first leadership with a token above that (of that candidate) which its holder has seen to be valid."""

        def found() -> Reign | None:
            return next(
                (r for t, r in self._evidence.reigns.items() if t > above and r.since_s and id in (None, r.id)), None
            )

        return self.wait_for(found, timeout_s, f"a leader with a token above {above}")

    def wait_over(self, reign: Reign, timeout_s: float = SLACK_S) -> Event:
        """The moment in which its holder was first told that it is over."""
        return self.wait_for(lambda: reign.over, timeout_s, f"the end of {reign}")

    def wait_event(self, what: str, id: str, *, token: int | None = None, timeout_s: float = SLACK_S) -> Event:
        """An event of that kind, written by that candidate."""

        def found() -> Event | None:
            mine = (event for event in self._evidence.of(what) if event["id"] == id)
            return next((event for event in mine if token in (None, event.get("token"))), None)

        return self.wait_for(found, timeout_s, f"{what!r} by {id}")

    @property
    def reigns(self) -> list[Reign]:
        """All leaderships so far."""
        self._evidence.read()
        return list(self._evidence.reigns.values())

    def account(self) -> str:
        """What was written and said, for a failure's text."""
        lines = [str(event) for event in self._evidence.events[-40:]]
        for candidate in self.candidates.values():
            if said := candidate.output.read_text(errors="replace")[-2000:]:
                lines.append(f"--- {candidate.id} said\n{said}")
        return "\n".join(lines)

    # The store, as an observer sees it.

    def look(self, store: leasekit.ConnectedStore) -> tuple[str | None, list[Place]]:
        """The leader's id, and the places in the queue in order, as of one moment. The leader's own is not among them."""
        election = leasekit.Election(self.election, store, ttl_s=self.ttl_s)._core
        reading = election.connection.store.transact((), core_queue.look_ops(election.keys), timeout_s=SLACK_S)
        committed = engine.get().run(reading)
        assert committed is not None
        seen = core_queue.read_look(committed.reads, committed.revision)
        leader = leader_of(seen.leader)
        places = [Place(candidate_of(entry).id, entry.create_revision) for entry in seen.queue]
        if leader is None:
            return None, places
        return leader.id, [place for place in places if place.id != leader.id]

    def queue(self, store: leasekit.ConnectedStore) -> list[str]:
        """The ids in the queue, first in the queue first; the leader is not among them."""
        return [place.id for place in self.look(store)[1]]

    def enlist(
        self,
        store: leasekit.ConnectedStore,
        id: str,
        *options: str,
        url: str | None = None,
        wrapper: Sequence[str] = (),
    ) -> Candidate:
        """Start a candidate and return once it leads or queues: whoever is enlisted later stands behind it."""
        candidate = self.start(id, *options, url=url, wrapper=wrapper)

        def campaigns() -> bool:
            leader, places = self.look(store)
            return id == leader or id in [place.id for place in places]

        self.wait_for(campaigns, SLACK_S, f"{id} campaigns", poll_s=_POLL_STORE_S)
        return candidate

    def wait_queue(self, store: leasekit.ConnectedStore, *ids: str, timeout_s: float = SLACK_S) -> None:
        """Until these and no others queue, in this order."""
        self.wait_for(lambda: self.queue(store) == list(ids), timeout_s, f"the queue {ids}", poll_s=_POLL_STORE_S)

    # Life.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for candidate in self.candidates.values():
            candidate.kill()
        self._evidence.read()
        if kind is None:
            assert_safe(self.reigns)
