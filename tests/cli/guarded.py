"""Stands in for leasekit: runs a command under the real watchdog, with a lease that is renewed on order.

Usage: guarded.py TTL_S GRACE_S RENEWALS COMMAND... It renews RENEWALS times, every third of the ttl, and prints one
line for what it knows: `watchdog PID`, `heard of the start`, then how it ended. On SIGUSR2 it tells the watchdog that the leadership is lost.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from leasekit.clock import SYSTEM_CLOCK
from leasekit.watchdog.guard import Guard


def main() -> None:
    ttl_s, grace_s, renewals = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    lost: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _frame: lost.append(number))
    begin = SYSTEM_CLOCK.now()
    guard = Guard(sys.argv[4:], os.environ, ttl_s=ttl_s, grace_s=grace_s)
    guard.begin(begin.plus(ttl_s))
    print("watchdog", guard.watchdog_pid, flush=True)
    renewed, heard = 0, False
    poll = select.poll()
    poll.register(guard, select.POLLIN)
    while (end := guard.step()) is None:
        if not heard and guard._group is not None:
            heard = True
            print("heard of the start", flush=True)
        if lost:
            guard.stop()
        if renewed < renewals and SYSTEM_CLOCK.now().reached(begin.plus((renewed + 1) * ttl_s / 3)):
            renewed += 1
            guard.extend(SYSTEM_CLOCK.now().plus(ttl_s))
        poll.poll(min(0.02, guard.sleep_s()) * 1000)
    guard.close()
    print(end, flush=True)


if __name__ == "__main__":
    main()
