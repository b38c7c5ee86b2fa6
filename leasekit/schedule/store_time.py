"""What time it is for a job: this machine's wall clock, unless the store's clock says that it is wrong.

Between two readings the store's time is carried on by the clocks that count durations, so a wall clock that jumps is
found out without asking the store again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from leasekit.clock import Clock, Instant
from leasekit.errors import ConfigError
from leasekit.store import Store

TIMEOUT_S = 5.0
READ_AGAIN_S = 60.0
SLOW_S, READ_AGAIN_SOON_S = 0.25, 2.0
"""An answer that took longer says too little: it is asked for again before long."""
TOLERANCE_S = 0.1
"""Two good clocks differ by a little: no reason to correct one."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The store told its time at some moment while it was asked. It counts as told last of all: then the store's time is
    never believed to be further than it is, however long the answer took."""

    unix_s: float
    resolution_s: float
    took_s: float
    taken: Instant

    def now_s(self, now: Instant) -> float:
        return self.unix_s + now.boot_s - self.taken.boot_s

    def least_s(self, now: Instant) -> float:
        """The store's time is that much, surely."""
        return self.now_s(now) - self.resolution_s

    def contradicts(self, wall_s: float, now: Instant) -> bool:
        """Whether a clock that says this is surely wrong."""
        most_s = self.now_s(now) + self.resolution_s + self.took_s
        return not self.least_s(now) - TOLERANCE_S <= wall_s <= most_s + TOLERANCE_S

    def older_than(self, max_age_s: float, now: Instant) -> bool:
        """Whether it is time for another; one that took long is not worth much."""
        return now.boot_s - self.taken.boot_s > (max_age_s if self.took_s <= SLOW_S else READ_AGAIN_SOON_S)


class StoreTime:
    """Reads the store's time, and keeps the time shown at most `max_skew_s` ahead of it.

    `unchecked`: go by this machine's clock where the store has none.
    """

    def __init__(self, store: Store, clock: Clock, *, max_skew_s: float, unchecked: bool) -> None:
        self._store = store
        self._clock = clock
        self._max_skew_s = max_skew_s
        self._unchecked = unchecked
        self._reading: _Reading | None = None

    def now(self) -> datetime:
        """The time now, UTC, by what was read last. Costs no request."""
        wall_s, now, reading = self._clock.wall_s(), self._clock.now(), self._reading
        if reading is not None:
            if reading.contradicts(wall_s, now):
                wall_s = reading.now_s(now)
            wall_s = min(wall_s, reading.least_s(now) + self._max_skew_s)
        return datetime.fromtimestamp(wall_s, UTC)

    async def refresh(self, *, max_age_s: float = READ_AGAIN_S) -> None:
        """Read the store's time if the last reading is older than `max_age_s` seconds.

        Raises:
            ConfigError: the store has no time, and an unchecked clock is not allowed.
            StoreUnavailable: it did not answer.
        """
        if self._reading is None or self._reading.older_than(max_age_s, self._clock.now()):
            await self._read()

    async def ahead_s(self, instant: datetime) -> float:
        """How far ahead of the store's time `instant` is, in seconds, by a reading of now. Raises as `refresh` does."""
        await self._read()
        if self._reading is None:
            return (instant - self.now()).total_seconds()
        return instant.timestamp() - self._reading.now_s(self._clock.now())

    async def _read(self) -> None:
        asked = self._clock.now()
        answer = await self._store.server_time(timeout_s=TIMEOUT_S)
        answered = self._clock.now()
        if answer is not None:
            took_s = answered.boot_s - asked.boot_s
            self._reading = _Reading(answer.unix_s, answer.resolution_s, took_s, answered)
        elif not self._unchecked:
            raise ConfigError(
                "allow_unchecked_clock", "is not set, and this store tells no time to check this machine's clock by"
            )
