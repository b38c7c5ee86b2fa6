"""Figure 16 of the Raft paper: how long a cluster is without a leader, for various election time-outs.

As there: five servers, a broadcast of about 15 ms, a leader that crashes at any moment between two heartbeats, and logs
of different lengths, so that two of the four survivors cannot be elected. The members are the ones that leasekit runs, on
virtual time.
"""

from __future__ import annotations

import heapq
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, median

from benchmarks import venvs
from benchmarks.table import Table
from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.messages import Heartbeat, Message
from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Recovered,
    Snapshot,
    SnapshotMeta,
)

TICKS_PER_MS = 4
# There and back with a write in between, 15 ms. The paper does not say how that divides: the more of it is the network,
# the later others hear of a candidate, and the more votes are split. With this the middle of its curves is met.
ONE_WAY_MS = (2.0, 4.0)
WRITE_MS = (7.0, 11.0)
GIVE_UP_MS = 10_000.0
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "raft-elections.svg"
_PLOTTER = Path(__file__).parent / "workers" / "plot_elections.py"

# Range of time-outs in ms, and what the paper and its author's thesis say (median, longest), where they give a number.
_RANDOMNESS = {
    (150, 150): "over 10 s, always",
    (150, 151): "median about 1.2 s",
    (150, 155): "median 287",
    (150, 175): "-",
    (150, 200): "longest 513",
    (150, 300): "median about 170, longest about 600",
}
_SCALE = {
    (12, 24): "mean 35, longest 152",
    (25, 50): "-",
    (50, 100): "-",
    (100, 200): "-",
    (150, 300): "median about 170, longest about 600",
}


async def run(rounds: int) -> list[Table]:
    """Both plots, as tables, and as a picture in `docs/`."""
    plots = {"randomness": _measure(_RANDOMNESS, rounds), "scale": _measure(_SCALE, rounds)}
    careful = {limits: [_trial(limits, Random(seed), careful=True) for seed in range(rounds)] for limits in _SCALE}
    _draw(plots)
    return [
        _table("Time without a leader: how much the time-outs differ", plots["randomness"], _RANDOMNESS),
        _table("Time without a leader: how long the time-outs are", plots["scale"], _SCALE),
        _table(
            "As leasekit's members run: pre-vote, check-quorum, and a vote is durable before it is asked for",
            careful,
            {},
        ),
    ]


def _measure(ranges: dict[tuple[int, int], str], rounds: int) -> dict[tuple[int, int], list[float]]:
    # As in the paper, fewer trials of the one that never ends.
    return {
        limits: [_trial(limits, Random(seed)) for seed in range(rounds if limits[0] < limits[1] else rounds // 10)]
        for limits in ranges
    }


def _trial(limits_ms: tuple[int, int], random: Random, *, careful: bool = False) -> float:
    """How long after its crash the leader has a successor, in ms; `GIVE_UP_MS` if it has none by then."""
    cluster = _Survivors(limits_ms, random, careful=careful)
    crashed_ms = random.uniform(0, limits_ms[0] / 2)
    for now_ms in cluster.pass_time():
        if cluster.has_leader:
            return max(now_ms - crashed_ms, 0.0)
        if now_ms - crashed_ms > GIVE_UP_MS:
            return GIVE_UP_MS
    raise AssertionError("time does not end")


@dataclass(order=True, slots=True)
class _Event:
    at_ms: float
    number: int
    what: Message | tuple[Raft, int]
    """A message that arrives, or a member's write that is durable."""


class _Survivors:
    """Four followers, whose leader has just sent its last heartbeat."""

    def __init__(self, limits_ms: tuple[int, int], random: Random, *, careful: bool) -> None:
        low, high = limits_ms
        config = Config(
            election_ticks=low * TICKS_PER_MS,
            election_spread_ticks=(high - low) * TICKS_PER_MS,
            heartbeat_ticks=low * TICKS_PER_MS // 2,
            pre_vote=careful,
            check_quorum=careful,
        )
        self._random = random
        self._careful = careful
        self._coming: list[_Event] = []
        self._events = 0
        membership = Membership({f"s{number}": "" for number in range(5)})
        self._members: dict[str, Raft] = {}
        for length in range(1, 5):
            entries = tuple(Entry(index, 1, EntryKind.COMMAND, b"") for index in range(1, length + 1))
            recovered = Recovered(HardState(1), Snapshot(SnapshotMeta(0, 0, membership)), entries)
            name = f"s{length}"
            self._members[name] = Raft(name, recovered, config, random)
            self._expect(0.0, ONE_WAY_MS, Heartbeat(sender="s0", to=name, term=1, commit=0, round=0))

    @property
    def has_leader(self) -> bool:
        """Whether one of them leads."""
        return any(member.leading is not None for member in self._members.values())

    def pass_time(self) -> Iterator[float]:
        """Each moment, after what happens in it."""
        ticks = 0
        while True:
            now_ms = ticks / TICKS_PER_MS
            while self._coming and self._coming[0].at_ms <= now_ms:
                self._happen(heapq.heappop(self._coming).what, now_ms)
            for member in self._members.values():
                member.tick()
                self._carry_out(member, now_ms)
            yield now_ms
            ticks += 1

    def _happen(self, what: Message | tuple[Raft, int], now_ms: float) -> None:
        if isinstance(what, tuple):
            member, number = what
            member.persisted(number)
        elif what.to in self._members:
            member = self._members[what.to]
            member.step(what)
        else:
            return
        self._carry_out(member, now_ms)

    def _carry_out(self, member: Raft, now_ms: float) -> None:
        while member.has_ready:
            ready = member.ready()
            for message in ready.messages:
                self._expect(now_ms, ONE_WAY_MS, message)
            if ready.write is not None:
                # The paper's servers ask for votes without waiting for their own disks; leasekit's wait.
                asking_at_once = member.ballot is not None and not self._careful
                self._expect(now_ms, (0.0, 0.0) if asking_at_once else WRITE_MS, (member, ready.write.number))

    def _expect(self, now_ms: float, delay_ms: tuple[float, float], what: Message | tuple[Raft, int]) -> None:
        self._events += 1
        heapq.heappush(self._coming, _Event(now_ms + self._random.uniform(*delay_ms), self._events, what))


def _table(title: str, results: dict[tuple[int, int], list[float]], published: dict[tuple[int, int], str]) -> Table:
    table = Table(title, ["time-outs, ms", "trials", "mean ms", "median ms", "99 % ms", "longest ms", "the paper, ms"])
    for (low, high), took_ms in results.items():
        ordered = sorted(took_ms)
        figures = [fmean(ordered), median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1]]
        said = [f"over {GIVE_UP_MS:.0f}" if value >= GIVE_UP_MS else f"{value:.0f}" for value in figures]
        table.add(f"{low}-{high}", len(ordered), *said, published.get((low, high), "-"))
    return table


def _draw(plots: dict[str, dict[tuple[int, int], list[float]]]) -> None:
    named = {
        name: {f"{low}-{high} ms": sorted(took_ms) for (low, high), took_ms in results.items()}
        for name, results in plots.items()
    }
    command = [str(venvs.python("plots")), str(_PLOTTER), str(PICTURE)]
    subprocess.run(command, input=json.dumps(named), text=True, check=True)
