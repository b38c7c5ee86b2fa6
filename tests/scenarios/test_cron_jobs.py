"""Jobs on a schedule in processes of their own: each slot once, and what becomes of a run whose process is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import leasekit
from leasekit import Outcome
from leasekit.schedule.verdict import NEVER_BEGAN
from support.pausing import pause

WORKER = Path(__file__).with_name("cron_worker.py")
LONG_S = 90.0


@dataclass
class Workers:
    """Processes that serve one job over one SQLite file."""

    folder: Path
    store: leasekit.ConnectedStore
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/leases.db"

    @property
    def gate(self) -> Path:
        """Runs go on until it exists."""
        return self.folder / "gate"

    def start(self, *options: str | Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, WORKER, self.url, self.folder / "record", *options]
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def events(self, what: str, pid: int | None = None) -> list[dict[str, Any]]:
        record = self.folder / "record"
        lines = record.read_text().splitlines() if record.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if event["what"] == what and pid in (None, event["pid"])]

    def until(self, condition: Callable[[], Any]) -> None:
        give_up_s = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < give_up_s, (self.folder / "output").read_text()
            time.sleep(0.01)

    def lines_of(self, slot: str) -> list[leasekit.schedule.records.Line]:
        at = datetime.fromisoformat(slot)
        return [line for line in leasekit.Slots("job", store=self.store).lines(64) if line.slot == at]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with leasekit.connect(f"sqlite:///{tmp_path}/leases.db") as store:
        workers = Workers(tmp_path, store)
        yield workers
        for process in workers.processes:
            process.kill()
            process.wait()


def test_two_processes_run_each_slot_once_and_end_on_sigterm(workers: Workers) -> None:
    # A ttl that does not run out in a run that is held up.
    processes = [workers.start("--ttl", "60"), workers.start("--ttl", "60")]
    slots = leasekit.Slots("job", store=workers.store)
    workers.until(lambda: len(slots.workers()) == 2)
    workers.until(lambda: len(workers.events("ends")) >= 4)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(LONG_S) for process in processes] == [0, 0]
    begun = [datetime.fromisoformat(event["slot"]) for event in workers.events("begins")]
    assert len(set(begun)) == len(begun)
    lines = slots.lines(64)
    assert (lines[-1].slot - lines[0].slot).total_seconds() == len(lines) - 1
    # Told to end, a worker may just have claimed a slot: it gives that up.
    runs = [line for line in lines if line.detail != NEVER_BEGAN]
    assert [(line.slot, line.outcome, line.attempt) for line in runs] == [(slot, Outcome.DONE, 1) for slot in begun]
    assert slots.workers() == []


@pytest.mark.parametrize("guarantee", ["at_least_once", "at_most_once"])
def test_a_run_whose_process_is_killed_is_lost_and_run_again_only_if_that_is_wanted(
    workers: Workers, guarantee: str
) -> None:
    first = workers.start("--guarantee", guarantee, "--hold", workers.gate)
    workers.until(lambda: workers.events("begins"))
    (begun,) = workers.events("begins")
    second = workers.start("--guarantee", guarantee)
    first.kill()
    workers.until(lambda: len(workers.events("ends", second.pid)) >= 2)
    lines = workers.lines_of(begun["slot"])
    again = [event for event in workers.events("begins", second.pid) if event["slot"] == begun["slot"]]
    if guarantee == "at_most_once":
        assert [(line.outcome, line.attempt) for line in lines] == [(Outcome.LOST, 1)]
        assert again == []
    else:
        assert [(line.outcome, line.attempt) for line in lines] == [(Outcome.LOST, 1), (Outcome.DONE, 2)]
        assert [event["attempt"] for event in again] == [2]
        assert again[0]["token"] > begun["token"]


def test_a_run_whose_process_was_paused_too_long_ends_there_and_is_run_elsewhere(workers: Workers) -> None:
    first = workers.start("--guarantee", "at_least_once", "--hold", workers.gate)
    workers.until(lambda: workers.events("begins"))
    (begun,) = workers.events("begins")
    pause(first.pid, workers.url)
    second = workers.start("--guarantee", "at_least_once")
    workers.until(lambda: any(event["slot"] == begun["slot"] for event in workers.events("ends", second.pid)))
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    workers.until(lambda: workers.events("loses", first.pid))
    # Before it looks at its signal it may have claimed another slot, and ends with that run.
    workers.gate.touch()
    assert first.wait(LONG_S) == 0
    assert begun["slot"] not in [event["slot"] for event in workers.events("ends", first.pid)]
    lines = workers.lines_of(begun["slot"])
    assert [(line.outcome, line.attempt) for line in lines] == [(Outcome.LOST, 1), (Outcome.DONE, 2)]
