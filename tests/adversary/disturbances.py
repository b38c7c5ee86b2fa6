"""What happens to a leader in a round, and which of it this machine can do."""

from __future__ import annotations

import enum
import shutil
import subprocess
from functools import cache
from pathlib import Path

from support import binaries


class Disturbance(enum.StrEnum):
    """The first leader's bad luck."""

    PAUSED = "paused"
    """SIGSTOP at a random moment, for three ttls at least."""
    PAUSED_BETWEEN = "paused between"
    """The same between the guard's check and its write, where the guard has such a moment; else before its request."""
    CUT = "cut"
    """Nothing passes between it and its store; the way to the resource stays."""
    STARVED = "starved"
    """It gets a few percent of a core, in slices."""
    WALL_CLOCK = "wall clock"
    """Its wall clock jumps, by libfaketime; then it resigns while it writes on, as a thread does that nobody ended."""
    BOOT_CLOCK = "boot clock"
    """It lives in a time namespace whose CLOCK_BOOTTIME and CLOCK_MONOTONIC are days ahead, and is paused there."""
    STORE_LEADER_KILLED = "store's leader killed"
    """The leader of the store's three servers is killed; where its leadership survives that, it resigns as above."""


_NOT_ON_A_FILE = {Disturbance.CUT, Disturbance.STORE_LEADER_KILLED, Disturbance.BOOT_CLOCK}
"""There is no way to a file that could be cut, and no server; and leasekit refuses a file whose leases were granted by
another CLOCK_BOOTTIME."""


def possible(store: str) -> tuple[Disturbance, ...]:
    """Those that rounds on that store can have, on this machine."""
    return tuple(
        disturbance
        for disturbance in Disturbance
        if not (store == "sqlite" and disturbance in _NOT_ON_A_FILE) and missing(store, disturbance) is None
    )


def missing(store: str, disturbance: Disturbance) -> str | None:
    """What this machine lacks for it, for people; None: nothing."""
    if disturbance is Disturbance.WALL_CLOCK and faketime() is None:
        return "libfaketime (`make servers` gets it)"
    if disturbance is Disturbance.BOOT_CLOCK and not _runs(tuple(shifted_boot_clock())):
        return "the right to make time namespaces"
    if store == "raft" and disturbance is Disturbance.CUT and not _runs(("unshare", "--net")):
        return "the right to make network namespaces"
    return None


def faketime() -> Path | None:
    """libfaketime, if this machine has it."""
    return binaries.find("faketime", "libfaketime.so")


def shifted_boot_clock(days: int = 1) -> list[str]:
    """What a command line is put after to run so many days after its boot."""
    shift_s = str(days * 86400)
    return ["unshare", "--time", "--boottime", shift_s, "--monotonic", shift_s, "--"]


@cache
def _runs(prefix: tuple[str, ...]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
