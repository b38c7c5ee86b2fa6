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
TOLERANCE_S = 0.1
"""Two good clocks differ by a little: no reason to correct one."""


@dataclass(frozen=True, slots=True)
class _Reading:
    unix_s: float
    exact_to_s: float
    taken: Instant

    def now_s(self, now: Instant) -> float:
        return self.unix_s + now.boot_s - self.taken.boot_s

    def age_s(self, now: Instant) -> float:
        return now.boot_s - self.taken.boot_s


class StoreTime:
    """Reads the store's time, and keeps the time shown within `max_skew_s` of it.

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
        wall_s, reading = self._clock.wall_s(), self._reading
        if reading is not None:
            store_s = reading.now_s(self._clock.now())
            if abs(wall_s - store_s) > reading.exact_to_s + TOLERANCE_S:
                wall_s = store_s
            wall_s = min(wall_s, store_s + self._max_skew_s)
        return datetime.fromtimestamp(wall_s, UTC)

    async def refresh(self) -> None:
        """Read the store's time if the last reading is old.

        Raises:
            ConfigError: the store has no time, and an unchecked clock is not allowed.
            StoreUnavailable: it did not answer.
        """
        if self._reading is None or self._reading.age_s(self._clock.now()) > READ_AGAIN_S:
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
            half_s = (answered.boot_s - asked.boot_s) / 2
            self._reading = _Reading(answer.unix_s + half_s, answer.resolution_s + half_s, answered)
        elif not self._unchecked:
            raise ConfigError(
                "allow_unchecked_clock", "is not set, and this store tells no time to check this machine's clock by"
            )
