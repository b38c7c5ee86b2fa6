"""What is done to the workers and to their store meanwhile, from one seed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from cronproof.stage import Place, Worker


@dataclass(frozen=True, slots=True)
class Pace:
    """How many seconds pass between two troubles of a kind, on average; 0: none of it."""

    kill_s: float = 12.0
    pause_s: float = 17.0
    hurt_s: float = 40.0
    jump_s: float = 13.0
    longest_pause_s: float = 12.0


class Trouble:
    """Makes trouble in threads of its own, one for each kind, until `stop`."""

    def __init__(self, workers: Sequence[Worker], store: Place, pace: Pace, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._struck: set[str] = set()
        self.faults: list[str] = []
        self._workers = workers
        self._store = store
        self._pace = pace
        self._over = threading.Event()
        self._free = {worker.id: threading.Lock() for worker in workers}
        kinds: list[tuple[str, float, Callable[[Random], None]]] = [
            ("kill", pace.kill_s, self._kill),
            ("pause", pace.pause_s, self._pause),
            ("hurt", pace.hurt_s, self._hurt),
            ("jump", pace.jump_s, self._jump),
        ]
        self._threads = [
            threading.Thread(target=self._every, args=(every_s, do, Random(f"{seed} {kind}")), name=kind)
            for kind, every_s, do in kinds
            if every_s
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more of it; everybody that was killed or paused goes on."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def struck(self) -> bool:
        """Whether each kind of it has come at least once, or cannot come any more."""
        return bool(self.faults) or self._struck >= {thread.name for thread in self._threads}

    def _every(self, every_s: float, do: Callable[[Random], None], random: Random) -> None:
        while not self._over.wait(random.uniform(0.5, 1.5) * every_s):
            try:
                do(random)
                self._struck.add(threading.current_thread().name)
            except Exception as error:  # noqa: BLE001 (it is the proof's own fault, and fails it)
                self.faults.append(f"{threading.current_thread().name}: {error!r}")
                return

    def _kill(self, random: Random) -> None:
        worker = random.choice(list(self._workers))
        with self._free[worker.id]:
            worker.kill()
            self.counts["workers killed"] += 1
            self._over.wait(random.uniform(0, 3))
            worker.start()

    def _pause(self, random: Random) -> None:
        worker = random.choice(list(self._workers))
        with self._free[worker.id]:
            worker.pause()
            self.counts["workers paused"] += 1
            self._over.wait(random.uniform(0.5, self._pace.longest_pause_s))
            worker.resume()

    def _hurt(self, random: Random) -> None:
        self._store.hurt(random)
        self.counts["store outages"] += 1

    def _jump(self, random: Random) -> None:
        for worker in self._workers:
            if worker.clock.jump(random) is not None:
                self.counts["clock jumps"] += 1
