"""One play: start, make trouble, wait for the slots, judge."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cronproof.evidence import Observer
from cronproof.judge import Case, Judged, Row, row, table, violations
from cronproof.stage import Worker, place, workers
from cronproof.trouble import Pace, Trouble
from leasekit.clock import SYSTEM_CLOCK
from leasekit.schedule.times import format_slot, parse
from support.netns import Network

SKEW_S = 2.0
"""The default of `max_skew_s`."""
PATIENCE_S = 120.0
"""How long after the last slot nothing may come to an end. How long all of it takes, depends on the machine."""


SAY_EVERY_S = 30.0
SCHEDULES = {"second": "every 1s", "ten": "every 10s", "minute": "* * * * *"}
"""What the workers serve. `ten` is run at most once, the others at least once."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be played."""

    store: str
    slots: int
    minutes: int
    seed: int
    workers: int = 5
    servers: int = 3
    ttl_s: float = 8.0
    body_s: float = 0.3
    pace: Pace = field(default_factory=Pace)

    @property
    def counts(self) -> dict[str, int]:
        """How many slots of each job count; jobs with none are served, and not looked at."""
        counts = {"second": self.slots, "ten": self.slots // 10, "minute": self.minutes}
        return {job: count for job, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    script: Script
    rows: list[Row]
    violations: list[str]
    trouble: Counter[str]
    runs: list[tuple[str, str, int, int]]
    """By worker: its id, its clock, how often it was started, how many runs it began."""

    def __str__(self) -> str:
        lines = [f"{self.script.store}, seed {self.script.seed}: ", table(self.rows), ""]
        lines[0] += ", ".join(f"{count} {what}" for what, count in sorted(self.trouble.items())) or "no trouble"
        lines += [f"{id} ({clock}): started {starts} times, {runs} runs" for id, clock, starts, runs in self.runs]
        lines += ["", *(f"VIOLATION {what}" for what in self.violations)]
        lines.append(f"{len(self.violations)} violations")
        return "\n".join(lines)


def play(script: Script, say: Callable[[str], object] = lambda _text: None) -> Result:
    """Play it; takes as long as its slots do."""
    with tempfile.TemporaryDirectory(prefix="leasekit-cronproof-") as name, Network() as network:
        folder = Path(name)
        options = ["--ttl", str(script.ttl_s), "--body", str(script.body_s)]
        with (
            place(script.store, network, folder, servers=script.servers) as store,
            workers(network, store, script.workers, folder, options) as team,
        ):
            observer = Observer(store.own_url, list(script.counts))
            trouble = Trouble(team, store, script.pace, script.seed)
            observer.start()
            wrong: list[str] = []
            try:
                for worker in team:
                    worker.start()
                judged = _judged(observer, script.counts)
                say("\n".join(f"{j.job}: {len(j.slots)} slots, up to {format_slot(j.until)}" for j in judged))
                trouble.start()
                try:
                    wrong += _wait_for_the_last(judged, team, trouble, say)
                finally:
                    trouble.stop()
                wrong += [] if wrong else _wait_for_the_ends(observer, judged, say)
                wrong += [said for worker in team if (said := worker.finish(PATIENCE_S)) is not None]
            finally:
                observer.stop()
            observer.evidence.read(folder / "record.jsonl")
            return _result(script, observer, judged, trouble, team, wrong)


def _judged(observer: Observer, counts: dict[str, int]) -> list[Judged]:
    """Which slots count: so many from now on, as all jobs are served."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not set(observer.first) >= set(counts):
        assert time.monotonic() < give_up_s, f"not all jobs are served: {observer.first}"
        time.sleep(0.05)
    judged = []
    for job, count in counts.items():
        schedule = parse(SCHEDULES[job])
        after = max(observer.first[job], datetime.now(UTC))
        until = after
        for _ in range(count):
            following = schedule.next_after(until)
            assert following is not None
            until = following
        judged.append(Judged(job, schedule.text, job != "ten", after, until))
    return judged


def _wait_for_the_last(
    judged: list[Judged], team: list[Worker], trouble: Trouble, say: Callable[[str], object]
) -> list[str]:
    """Until all slots have come, in the middle of trouble; what was wrong, if a worker ended by itself."""
    last = max(j.until for j in judged).timestamp()
    said_s = time.time()
    while (left_s := last - time.time()) > 0 or not trouble.struck:
        if fallen := [said for worker in team if (said := worker.fallen) is not None]:
            return fallen
        if time.time() - said_s > SAY_EVERY_S:
            said_s = time.time()
            say(f"{left_s:.0f} s to go")
        time.sleep(0.1)
    return []


def _wait_for_the_ends(observer: Observer, judged: list[Judged], say: Callable[[str], object]) -> list[str]:
    """Until all slots are done with, now that there is no more trouble; what was wrong, if that does not go on."""
    ended, moved_s = -1, time.monotonic()
    while waiting := [j.job for j in judged if not observer.finished(j.job, j.until, done=j.at_least_once)]:
        if (now_ended := observer.ended) > ended:
            say(f"{now_ended} runs have ended")
            ended, moved_s = now_ended, time.monotonic()
        if time.monotonic() - moved_s > PATIENCE_S:
            return [f"{job} is not done with its slots, and nothing has ended for {PATIENCE_S:g} s" for job in waiting]
        time.sleep(1)
    return []


def _wall_minus_boot_s() -> float:
    """What to add to an instant of CLOCK_BOOTTIME, to a millisecond: read again if anything came in between."""
    while True:
        before_s, wall_s, after_s = SYSTEM_CLOCK.now().boot_s, time.time(), SYSTEM_CLOCK.now().boot_s
        if after_s - before_s < 0.001:
            return wall_s - after_s


def _result(
    script: Script, observer: Observer, judged: list[Judged], trouble: Trouble, team: list[Worker], wrong: list[str]
) -> Result:
    evidence = observer.evidence
    offset_s = _wall_minus_boot_s()
    cases = [Case(each, evidence, SKEW_S, lambda boot_s: boot_s + offset_s) for each in judged]
    found = [*wrong, *trouble.faults, *(what for case in cases for what in violations(case))]
    begun = Counter(attempt.worker for attempt in evidence.attempts.values() if attempt.begins)
    runs = [(worker.id, worker.clock.name, worker.starts, begun[worker.id]) for worker in team]
    return Result(script, [row(case) for case in cases], found, trouble.counts, runs)
