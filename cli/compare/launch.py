"""Becomes another program, which the kernel kills when the comparison ends, however that ends."""

from __future__ import annotations

import os
import signal
import sys

from leasekit.watchdog import processes


def main(parent: str, program: str, *arguments: str) -> None:
    """`parent` is the comparison's process id: if it is gone by now, there is nothing to start."""
    processes.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
