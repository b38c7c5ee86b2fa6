"""Virtual time: a queue of what happens when, and the clocks that members read."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from leasekit.clock import Instant

Action = Callable[[], None]


class Schedule:
    """What is to happen, in order of time; what is due at the same time happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self._sequence = 0
        self._queue: list[tuple[float, int, Action]] = []

    def at(self, time_s: float, action: Action) -> None:
        """Do `action` at `time_s`, or at once if that is past."""
        self._sequence += 1
        heapq.heappush(self._queue, (max(time_s, self.now_s), self._sequence, action))

    def after(self, delay_s: float, action: Action) -> None:
        """Do `action` in `delay_s` seconds."""
        self.at(self.now_s + delay_s, action)

    def step(self) -> bool:
        """Go on to the next thing and do it. False if nothing is left."""
        if not self._queue:
            return False
        self.now_s, _, action = heapq.heappop(self._queue)
        self.steps += 1
        action()
        return True

    def next_s(self) -> float | None:
        """When the next thing is due; None if nothing is left."""
        return self._queue[0][0] if self._queue else None


class MachineClock:
    """One machine's clocks: two that only go forward, each at a rate of its own, and a wall clock that also jumps."""

    DRIFT_MIN, DRIFT_MAX = 0.005, 0.015
    """How far a rate is from the true one, as a fraction, one way or the other."""

    def __init__(self, schedule: Schedule, rng: random.Random) -> None:
        self._schedule = schedule
        self._boot_rate, self._raw_rate = (
            1 + rng.choice((-1, 1)) * rng.uniform(self.DRIFT_MIN, self.DRIFT_MAX) for _ in range(2)
        )
        self._offset_s = rng.uniform(0, 1e6)
        self._wall_offset_s = 1.7e9 + rng.uniform(-5, 5)

    def now(self) -> Instant:
        """The moment by the clocks that decide."""
        true_s = self._schedule.now_s
        return Instant(self._offset_s + true_s * self._boot_rate, self._offset_s + true_s * self._raw_rate)

    def wall_s(self) -> float:
        """Seconds since 1970, as this machine has it."""
        return self._wall_offset_s + self._schedule.now_s * self._boot_rate

    def true_delay_s(self, local_s: float) -> float:
        """How much true time passes while this machine waits for `local_s`."""
        return local_s / self._boot_rate

    def jump(self, by_s: float) -> None:
        """Set the wall clock forward or back. The others do not notice."""
        self._wall_offset_s += by_s
