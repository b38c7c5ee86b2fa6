"""Everything at once, for as long as you like: `cd tests && python -m support.raft_fire --minutes 5 --size 5`.

Members are killed, paused, cut off, their disks fail or hang, snapshots are taken, while clients work; what they were told
is judged at the end. `--seed` repeats the faults, though not the times at which processes come to notice them.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from support.raft_disks import FailingDisks
from support.raft_linked import LinkedCluster
from support.raft_load import Load

_HELD_S = (0.1, 2.5)
"""How long faults last. Short enough that elections are under way at their end as often as not."""
_QUIET_S = (0.0, 2.0)
_SNAPSHOT_SHARE = 0.3
_STRIKES_MIN = 2
_MAJORITY_SHARE = 0.2
"""So often a majority may be struck at once."""


class BurningCluster(FailingDisks, LinkedCluster):
    """Members of which anything may fail."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened."""

    seconds: float
    faults: Counter[str]
    elections: int
    counts: Counter[str]

    def __str__(self) -> str:
        lines = [f"{self.seconds:.0f} s, {self.elections} elections won"]
        for counts in (self.faults, self.counts):
            lines += [f"{count:10} {what}" for what, count in sorted(counts.items())]
        return "\n".join(lines)


def burn(size: int, seconds: float, *, seed: int = 0, tell: Callable[[str], None] = lambda line: None) -> Report:
    """Let a cluster burn for so long. Raises AssertionError if a promise was broken, or if it does not go on after."""
    began_s = time.monotonic()
    with BurningCluster(size) as cluster:
        with Load(cluster.url("fire", endpoints=cluster.links), clients=6, seed=seed) as load:
            fire = _Fire(cluster, random.Random(seed))
            # Something is struck also where every step takes as long.
            while time.monotonic() - began_s < seconds or fire.strikes < _STRIKES_MIN:
                fire.strike()
                tell(f"{time.monotonic() - began_s:7.1f} s  {fire.last:40}  {load.account()}")
            load.goes_on()
        elections = sum(len(re.findall(r" leads in term ", cluster.output(index))) for index in range(size))
    return Report(time.monotonic() - began_s, fire.faults, elections, load.history.counts)


class _Fire:
    """Strikes once or several times at once, and mends it all."""

    def __init__(self, cluster: BurningCluster, rng: random.Random) -> None:
        self.faults: Counter[str] = Counter()
        self.strikes = 0
        self.last = ""
        self._cluster = cluster
        self._rng = rng
        self._kinds: dict[str, Callable[[int], AbstractContextManager[None]]] = {
            "killed": self._killed,
            "paused": self._paused,
            "cut off": self._cut_off,
            "some links cut": self._links_cut,
            "disk broken": self._disk_broken,
            "disk hangs": self._disk_hangs,
            "stopped": self._stopped,
            "answers lost": self._answers_lost,
            "all killed": self._all_killed,
        }
        self._weights = [6, 4, 4, 4, 2, 2, 2, 2, 1]

    def strike(self) -> None:
        """Return when all is mended."""
        rng, cluster = self._rng, self._cluster
        self.strikes += 1
        if rng.random() < _SNAPSHOT_SHARE:
            self._take_snapshot(rng.randrange(cluster.size))
        most = cluster.size if rng.random() < _MAJORITY_SHARE else cluster.size // 2
        struck: list[str] = []
        with contextlib.ExitStack() as mending:
            victims = list(range(cluster.size))
            rng.shuffle(victims)
            if rng.random() < 0.6:
                leader = self._leader()
                victims.sort(key=lambda index: index != leader)
            for kind in dict.fromkeys(rng.choices([*self._kinds], self._weights, k=rng.randint(1, most))):
                if kind == "all killed" and struck:
                    continue
                victim = victims.pop(0)
                mending.enter_context(self._kinds[kind](victim))
                struck.append(f"{kind} {victim}")
                self.faults[kind] += 1
                if kind == "all killed":
                    break
            self.last = ", ".join(struck)
            time.sleep(rng.uniform(*_HELD_S))
        time.sleep(rng.uniform(*_QUIET_S))

    def _leader(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            return self._cluster.leader_index(timeout_s=0.5)
        return None

    def _take_snapshot(self, index: int) -> None:
        # Who is just starting, or is too busy, does not answer; that is no fault of it.
        with contextlib.suppress(AssertionError):
            self._cluster.snapshot(index)
            self.faults["snapshot taken"] += 1

    @contextmanager
    def _killed(self, index: int) -> Iterator[None]:
        self._cluster.kill(index)
        yield
        self._cluster.start(index, wait=False)

    @contextmanager
    def _stopped(self, index: int) -> Iterator[None]:
        self._cluster.terminate(index)
        code = self._cluster.wait_ended(index)
        # One that was still starting has nothing to close, and ends as any program does.
        assert code in (0, -signal.SIGTERM), (
            f"member {index} was told to end, and ended with {code}\n{self._cluster.output(index)[-3000:]}"
        )
        yield
        self._cluster.start(index, wait=False)

    @contextmanager
    def _answers_lost(self, index: int) -> Iterator[None]:
        self._cluster.lose_answers(index)
        yield
        self._cluster.reunite()

    @contextmanager
    def _all_killed(self, _: int) -> Iterator[None]:
        self._cluster.stop_all()
        yield
        self._cluster.start_all()

    @contextmanager
    def _paused(self, index: int) -> Iterator[None]:
        self._cluster.pause(index)
        yield
        self._cluster.resume(index)

    @contextmanager
    def _cut_off(self, index: int) -> Iterator[None]:
        self._cluster.isolate(index)
        yield
        self._cluster.reunite()

    @contextmanager
    def _links_cut(self, _: int) -> Iterator[None]:
        for _ in range(self._rng.randint(1, 2 * self._cluster.size)):
            self._cluster.cut_one_way(*self._rng.sample(range(self._cluster.size), 2))
        yield
        self._cluster.reunite()

    @contextmanager
    def _disk_broken(self, index: int) -> Iterator[None]:
        self._cluster.break_disk(index, "EIO")
        yield
        # A member that had nothing to write has not noticed.
        self._cluster.kill(index)
        self._cluster.mend_disk(index)
        self._cluster.start(index, wait=False)

    @contextmanager
    def _disk_hangs(self, index: int) -> Iterator[None]:
        self._cluster.break_disk(index, "slow")
        yield
        self._cluster.mend_disk(index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--size", type=int, default=3, help="how many members")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(burn(given.size, 60 * given.minutes, seed=given.seed, tell=lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main()
