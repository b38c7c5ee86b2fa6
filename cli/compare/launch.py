"""Becomes another program, which the kernel kills when the comparison ends, however that ends."""

from __future__ import annotations

import os
import signal
import sys

from leasekit.watchdog import processes

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Blocked in the comparison while it starts a process: typed in that moment, Ctrl-C would reach that process as well,
which is not in a group of its own yet."""


def hear_signals() -> None:
    """In a process that was started so: forget those that were meant for the comparison, and listen from now on."""
    for number in ENDING:
        before = signal.signal(number, signal.SIG_IGN)  # discards what is pending
        signal.signal(number, before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def main(parent: str, program: str, *arguments: str) -> None:
    """`parent` is the comparison's process id: if it is gone by now, there is nothing to start."""
    hear_signals()
    processes.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
