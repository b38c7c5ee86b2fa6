"""One process that serves a job each second, and writes down its runs.

Usage: cron_worker.py URL RECORD [--guarantee G] [--hold FILE] [--ttl S]. Appends JSON lines to RECORD. With `--hold` a run goes on
until FILE exists. Ends on SIGTERM, in the way that `leasekit.serve` tells its users to.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path

import leasekit

PR_SET_PDEATHSIG = 1
ASK_EVERY_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("record")
    parser.add_argument("--guarantee", choices=["at_most_once", "at_least_once"], default="at_most_once")
    parser.add_argument("--hold", type=Path)
    parser.add_argument("--ttl", type=float, default=3.0)
    given = parser.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    file = os.open(given.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def write(what: str) -> None:
        run = leasekit.current_run()
        line = {
            "what": what,
            "pid": os.getpid(),
            "slot": run.slot.isoformat(),
            "attempt": run.attempt,
            "token": run.token,
        }
        os.write(file, f"{json.dumps(line)}\n".encode())

    with leasekit.connect(given.url) as store:

        @leasekit.cron(
            "job",
            "every 1s",
            store=store,
            ttl_s=given.ttl,
            overlap="queue_one",
            missed="all",
            guarantee=given.guarantee,
        )
        def job() -> None:
            write("begins")
            try:
                while given.hold is not None and not given.hold.exists():
                    leasekit.current().check()
                    threading.Event().wait(ASK_EVERY_S)
            except leasekit.LeadershipLost:
                write("loses")
                raise
            write("ends")

        job.serve(stop)


if __name__ == "__main__":
    main()
