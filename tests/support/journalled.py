"""One process with a journal (LEASEKIT_JOURNAL): it campaigns once, and writes to a fenced database when told to.

Usage: journalled.py URL ELECTION DATABASE --id ID --ttl S. Prints `elected TOKEN`, then for each line of its standard
input: `write` -> `written` or `refused`; `resign` -> `over REASON`, and it ends. It never asks whether it still leads,
which is how a stale leader comes to write.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sqlite3
import sys

import leasekit
from leasekit.fencing import SqlFence

PR_SET_PDEATHSIG = 1


def write(connection: sqlite3.Connection, fence: SqlFence, token: int) -> str:
    try:
        with connection:
            fence.check(connection, token)
            connection.execute("INSERT INTO work (token) VALUES (?)", (token,))
    except leasekit.FencingRejected:
        return "refused"
    return "written"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("election")
    parser.add_argument("database")
    parser.add_argument("--id", required=True)
    parser.add_argument("--ttl", type=float, required=True)
    given = parser.parse_args()
    if sys.platform == "linux":
        # Also while it is stopped it must not outlive the test run.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    fence = SqlFence(given.election)
    connection = sqlite3.connect(given.database, timeout=30)
    with connection:
        fence.create_table(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS work (token INTEGER NOT NULL)")
    with leasekit.connect(given.url) as store:
        print("campaigns", flush=True)
        leadership = leasekit.Election(given.election, store, id=given.id, ttl_s=given.ttl).campaign()
        print(f"elected {leadership.token}", flush=True)
        for line in sys.stdin:
            if line.strip() == "resign":
                break
            print(write(connection, fence, leadership.token), flush=True)
        leadership.resign()
        print(f"over {leadership.reason}", flush=True)
    connection.close()


if __name__ == "__main__":
    main()
