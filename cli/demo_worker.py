"""One worker of `leasekit demo`: campaigns, and while it leads, does visible, fenced work.

Says what it does in JSON lines on standard output. Started by the demo as a process of its own, to be killed at will.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import threading
from typing import NoReturn

from leasekit.errors import FencingRejected, LossReason
from leasekit.fencing import SqlFence
from leasekit.sync import Election, Leadership
from leasekit.watchdog import processes

# Between looking whether it leads and writing, a worker computes: here a pause of the process does its harm.
COMPUTE_S = 0.15
REST_S = 0.25


def say(event: str, **details: object) -> None:
    """Tell the demo."""
    print(json.dumps({"event": event, **details}), flush=True)


def work(leadership: Leadership, database: sqlite3.Connection, fence: SqlFence, stop: threading.Event) -> None:
    """Write lines until told to stop, or until the leadership is found to be over."""
    while not stop.is_set() and leadership.valid:
        say("computing")
        threading.Event().wait(COMPUTE_S)
        try:
            with database:
                fence.check(database, leadership.token)
                database.execute("INSERT INTO line (token, worker) VALUES (?, ?)", (leadership.token, leadership.id))
        except FencingRejected as refused:
            say("refused", token=refused.token, highest=refused.highest)
        else:
            say("wrote", token=leadership.token)
        stop.wait(REST_S)


def main(name: str, election_name: str, ttl_s: str, database_file: str) -> None:
    """Campaign and work, again and again, until TERM: then resign."""
    processes.signal_when_parent_dies(signal.SIGKILL)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the demo's, which ends its workers itself
    campaigning = threading.Event()

    def terminated(_number: int, _frame: object) -> None:
        already = stop.is_set()  # told twice, it must not be torn out of its ending
        stop.set()
        if campaigning.is_set() and not already:
            sys.exit(0)

    signal.signal(signal.SIGTERM, terminated)
    database = sqlite3.connect(database_file, timeout=10)
    fence = SqlFence("lines")
    election = Election(election_name, id=name, ttl_s=float(ttl_s))
    say("ready")
    while not stop.is_set():
        campaigning.set()
        leadership = election.campaign()
        campaigning.clear()
        with leadership:
            say("elected", token=leadership.token)
            work(leadership, database, fence, stop)
            if (reason := leadership.reason) is not None:
                say("lost", reason=LossReason(reason).value, token=leadership.token)
    say("resigned")
    database.close()


def _run() -> NoReturn:
    main(*sys.argv[1:])
    sys.exit(0)


if __name__ == "__main__":
    _run()
