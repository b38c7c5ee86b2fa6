"""Signs of life: the moment at which a process last ran, in a file that outlives it.

Eight bytes of shared memory, written without a system call; several processes of one kind share a file. Nothing but the
standard library is imported here: the wrapped commands do without site-packages.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

EVERY_S = 0.01
"""How often a process gives a sign: the last one may be this much older than its end."""
LIFE_MAX_S = 600.0
"""No process of a round lives for longer, whoever failed to stop it."""

_SIZE = 8


def now_s() -> float:
    """The clock of all signs. It is also the clock of leasekit's deadlines and journals, on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sign:
    """The writing side."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_SIZE))
        with file.open("r+b") as opened:
            self._memory = memoryview(mmap.mmap(opened.fileno(), _SIZE)).cast("q")
        self._until_s = now_s() + LIFE_MAX_S

    def give(self) -> None:
        """I live."""
        self._memory[0] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if now_s() > self._until_s:
            os._exit(1)

    def write(self, moment_s: float) -> None:
        """Write down another moment than this."""
        self._memory[0] = int(moment_s * 1e9)

    def live(self, for_s: float = float("inf")) -> None:
        """Give signs and do nothing else."""
        until_s = now_s() + for_s
        while now_s() < until_s:
            self.give()
            time.sleep(EVERY_S)


def last_sign_s(file: Path) -> float | None:
    """When the last sign was given; None before the first."""
    try:
        written_ns = int.from_bytes(file.read_bytes(), sys.byteorder)
    except FileNotFoundError:
        return None
    return written_ns / 1e9 or None
