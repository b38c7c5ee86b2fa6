"""A clock that moves only when told to."""

from __future__ import annotations

from leasekit.clock import Instant


class ManualClock:
    """A `leasekit.clock.Clock` whose three clocks (boot, raw, wall) move apart when a test says so."""

    def __init__(self, *, boot_s: float = 1000.0, raw_s: float = 1000.0, wall_s: float = 1_800_000_000.0) -> None:
        self._boot_s = boot_s
        self._raw_s = raw_s
        self._wall_s = wall_s

    def now(self) -> Instant:
        return Instant(self._boot_s, self._raw_s)

    def wall_s(self) -> float:
        return self._wall_s

    def advance(self, duration_s: float) -> None:
        """Let time pass on all clocks."""
        if duration_s < 0:
            raise ValueError(f"time does not go back ({duration_s} s); step_wall() moves the wall clock alone")
        self._boot_s += duration_s
        self._raw_s += duration_s
        self._wall_s += duration_s

    def suspend(self, duration_s: float) -> None:
        """Let the machine sleep: the boot and wall clocks go on, the raw clock (and every timer) stops."""
        self._boot_s += duration_s
        self._wall_s += duration_s

    def slew(self, offset_s: float) -> None:
        """Let NTP have slewed the boot clock by this much against the raw one; negative for slower."""
        self._boot_s += offset_s

    def step_wall(self, offset_s: float) -> None:
        """Set the wall clock forward, or back if negative."""
        self._wall_s += offset_s
