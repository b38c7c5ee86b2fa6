"""Time, at the rim. The only module that reads a clock.

A deadline must hold through suspend and through slewing, and no single clock does both: CLOCK_BOOTTIME counts
suspend but is slewed by NTP, CLOCK_MONOTONIC_RAW is never slewed but stops in suspend. So an instant is read on
both, and a deadline has passed when *either* says so.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Where a platform lacks a clock, the nearest equivalent stands in: macOS's CLOCK_MONOTONIC counts suspend;
# elsewhere `time.monotonic` is all there is.
_SUSPEND_AWARE = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_NEVER_SLEWED = getattr(time, "CLOCK_MONOTONIC_RAW", getattr(time, "CLOCK_MONOTONIC", None))


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on this machine, read on both clocks, in seconds. Comparable only within one boot."""

    boot_s: float
    raw_s: float

    def plus(self, duration_s: float) -> Instant:
        """The moment `duration_s` seconds later (earlier if negative)."""
        return Instant(self.boot_s + duration_s, self.raw_s + duration_s)

    def until(self, deadline: Instant) -> float:
        """Seconds left until `deadline` by the more pessimistic clock; zero or less once it has passed."""
        return min(deadline.boot_s - self.boot_s, deadline.raw_s - self.raw_s)

    def reached(self, deadline: Instant) -> bool:
        """Whether `deadline` has come by either clock."""
        return self.boot_s >= deadline.boot_s or self.raw_s >= deadline.raw_s


class Clock(Protocol):
    """What leasekit needs to know of time. `ManualClock` in `leasekit.testing` is the other implementation."""

    def now(self) -> Instant:
        """The present moment on the clocks that decide who leads."""
        ...

    def wall_s(self) -> float:
        """Seconds since the epoch, UTC: for records that people read, and for cron slots. Decides nothing else."""
        ...


class SystemClock:
    """This machine's clocks. Reading one costs about 0.1 us."""

    def now(self) -> Instant:
        if _SUSPEND_AWARE is None or _NEVER_SLEWED is None:
            now_s = time.monotonic()
            return Instant(now_s, now_s)
        return Instant(time.clock_gettime(_SUSPEND_AWARE), time.clock_gettime(_NEVER_SLEWED))

    def wall_s(self) -> float:
        return time.time()


SYSTEM_CLOCK = SystemClock()


def source() -> str:
    """The names of the clocks in use, for `leasekit doctor`."""
    names = {value: name for name, value in vars(time).items() if name.startswith("CLOCK_")}
    if _SUSPEND_AWARE is None or _NEVER_SLEWED is None:
        return "time.monotonic"
    return f"{names[_SUSPEND_AWARE]} and {names[_NEVER_SLEWED]}"


@dataclass(frozen=True, slots=True)
class Boot:
    """Which boot of which machine: what two processes must share for their clocks to agree.

    The stamps of the suspend-aware clock mean nothing in another. Empty where the system does not tell.
    """

    id: str
    time_namespace: str


def this_boot() -> Boot:
    """The boot and time namespace that this process runs in."""
    boot_id = time_namespace = ""
    with suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        time_namespace = os.readlink("/proc/self/ns/time")  # noqa: PTH115
    return Boot(boot_id, time_namespace)
