"""What the workers wrote down, and what was seen to stand in the store."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import leasekit
from leasekit.errors import LeasekitError
from leasekit.schedule.records import Line, Outcome
from leasekit.schedule.slots import Slots
from leasekit.schedule.times import parse_slot

LOOK_EVERY_S = 0.25
"""The record keeps 64 lines, so nothing is missed between two looks."""


@dataclass(slots=True)
class Attempt:
    """One attempt at one slot, by whoever told of it."""

    job: str
    slot: datetime
    attempt: int
    token: int
    worker: str | None = None
    begins: int = 0
    """How many times its body began."""
    since_s: float | None = None
    until_s: float | None = None
    """Between these it was believed to lead, on CLOCK_BOOTTIME."""
    ended: bool = False
    line: Line | None = None
    """As it stood in the store when last seen there."""


@dataclass(slots=True)
class Evidence:
    """All of it. `asked_s`: by job, slot and token, when the first request to claim it was about to be sent."""

    attempts: dict[tuple[str, datetime, int, int], Attempt] = field(default_factory=dict)
    asked_s: dict[tuple[str, datetime, int], float] = field(default_factory=dict)
    not_run: dict[str, dict[datetime, Line]] = field(default_factory=lambda: defaultdict(dict))
    """Lines of slots that were skipped or missed."""

    def attempt(self, job: str, slot: datetime, attempt: int, token: int) -> Attempt:
        key = (job, slot, attempt, token)
        if key not in self.attempts:
            self.attempts[key] = Attempt(job, slot, attempt, token)
        return self.attempts[key]

    def read(self, record: Path) -> None:
        """Take in what the workers wrote."""
        for text in record.read_text().splitlines():
            event: dict[str, Any] = json.loads(text)
            if event["what"] in ("started", "ended"):
                continue
            job, slot, token = event["job"], parse_slot(event["slot"]), event["token"]
            if event["what"] == "asks":
                self.asked_s.setdefault((job, slot, token), event["boot_s"])
                continue
            attempt = self.attempt(job, slot, event["attempt"], token)
            match event["what"]:
                case "begins":
                    attempt.begins += 1
                    attempt.worker, attempt.since_s, attempt.until_s = event["worker"], event["boot_s"], None
                case "believes":
                    # Asked at that moment whether it leads, and the answer was yes.
                    attempt.until_s = event["asked_s"]
                case "ends":
                    attempt.ended = True

    def see(self, job: str, lines: list[Line] | tuple[Line, ...]) -> None:
        """Take in what stands in the store."""
        for line in lines:
            if line.token is None:
                self.not_run[job][line.slot] = line
            else:
                self.attempt(job, line.slot, line.attempt, line.token).line = line


class Observer:
    """Looks at the jobs' records over and over, from a thread of its own and by a true clock."""

    def __init__(self, url: str, jobs: list[str]) -> None:
        self.evidence = Evidence()
        self.first: dict[str, datetime] = {}
        """No slot up to this one was to be run: the job was new then."""
        self._store = leasekit.connect(url)
        self._slots = {job: Slots(job, store=self._store) for job in jobs}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look once more, then no more."""
        self._over.set()
        self._thread.join()
        give_up_s = time.monotonic() + 60
        while not self._look():
            assert time.monotonic() < give_up_s, "the store does not answer any more"
            time.sleep(LOOK_EVERY_S)
        self._store.close()

    def finished(self, job: str, until: datetime, *, done: bool) -> bool:
        """Whether every attempt at the slots up to that one has an end; `done`: and the last slot was done."""
        attempts = [a for a in list(self.evidence.attempts.values()) if a.job == job and a.slot <= until]
        last = [a.line.outcome for a in attempts if a.slot == until and a.line is not None]
        if not last or any(a.line is not None and a.line.outcome is Outcome.CLAIMED for a in attempts):
            return False
        return not done or Outcome.DONE in last

    @property
    def ended(self) -> int:
        """How many attempts have an end."""
        lines = [attempt.line for attempt in list(self.evidence.attempts.values())]
        return sum(line is not None and line.outcome is not Outcome.CLAIMED for line in lines)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> bool:
        for job, slots in self._slots.items():
            try:
                record = slots.record()
            except LeasekitError:
                return False
            if record is not None:
                earliest = min((line.slot for line in record.lines), default=None)
                self.first.setdefault(job, record.mark if earliest is None else earliest - timedelta(seconds=1))
                self.evidence.see(job, record.lines)
        return True
