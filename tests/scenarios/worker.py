"""One process that campaigns and writes down what it believes, for `support.team` to judge.

Usage: worker.py URL ELECTION RECORD [--id ID] [--ttl S] [--priority N] [--once] [--tight].
Appends JSON lines to RECORD; obeys lines on its standard input: `resign`, `transfer ID`, and at its end it stops. Without
`--once` it campaigns again. With `--tight` it asks without any pause. With `--faults RATE` that share of its
requests is refused, lost, or applied or answered late.

Instants are CLOCK_BOOTTIME's. A belief is written down so that it errs on the short side: a question answered yes
proves belief at the moment before it was asked, once there was an earlier yes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import random
import signal
import sys
import threading
import time

import leasekit
from leasekit.clock import SYSTEM_CLOCK

ASK_EVERY_S = 0.001
WRITE_EVERY_S = 0.002
PR_SET_PDEATHSIG = 1


def now_s() -> float:
    return SYSTEM_CLOCK.now().boot_s


class Record:
    """The file that all candidates append to, one line by one write, so that a kill loses nothing."""

    def __init__(self, path: str, id: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._id = id

    def write(self, what: str, **details: object) -> None:
        line = json.dumps({"what": what, "id": self._id, "pid": os.getpid(), **details})
        os.write(self._file, f"{line}\n".encode())


class Sampler:
    """Asks a leadership whether it is valid, over and over, until it says no. A thread of its own, with no other work."""

    def __init__(
        self, leadership: leasekit.Leadership, record: Record, over: queue.SimpleQueue[str], pause_s: float
    ) -> None:
        self._leadership = leadership
        self._record = record
        self._over = over
        self._pause_s = pause_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        leadership, token = self._leadership, self._leadership.token
        asked_s, written_s = now_s(), 0.0
        while True:
            previous_s, asked_s = asked_s, now_s()
            valid = leadership.valid
            answered_s = now_s()
            if not valid:
                break
            if asked_s - written_s >= WRITE_EVERY_S or asked_s - previous_s > WRITE_EVERY_S:
                written_s = asked_s
                self._record.write("valid", token=token, asked_s=asked_s, answered_s=answered_s)
            if self._pause_s:
                time.sleep(self._pause_s)
        self._record.write(
            "over",
            token=token,
            asked_s=asked_s,
            answered_s=answered_s,
            previous_s=previous_s,
            reason=leadership.reason,
            remaining_s=leadership.remaining_s,
        )
        self._over.put(f"over {token}")


def lead(leadership: leasekit.Leadership, record: Record, orders: queue.SimpleQueue[str], pause_s: float) -> None:
    """Lead until told to let go, or until it is lost: then LeadershipLost."""
    record.write("elected", token=leadership.token, answered_s=now_s())
    sampler = Sampler(leadership, record, orders, pause_s)
    while True:
        order, _, argument = orders.get().partition(" ")
        began_s = now_s()
        if order == "resign":
            leadership.resign()
        elif order == "transfer":
            leadership.transfer(argument)
        elif order == "quit":
            # The way out of `with`, in `run`, resigns.
            return
        elif argument != str(leadership.token):
            continue
        else:
            leadership.check()
        sampler.join()
        record.write(order, token=leadership.token, took_s=now_s() - began_s)
        return


def obey(orders: queue.SimpleQueue[str], stop: threading.Event) -> None:
    """Pass on what is ordered; without anybody there to order, stop."""
    for line in sys.stdin:
        orders.put(line.strip())
    stop.set()
    orders.put("quit")


def make_unreliable(store: leasekit.ConnectedStore, rate: float) -> None:
    from leasekit.testing import FaultyStore, random_faults

    seed = random.getrandbits(32)
    print(f"faults by seed {seed}", flush=True)
    connection = store.connection
    # A connection opens its store from a URL alone; only a test puts another in its place.
    connection._store = FaultyStore(connection._store, random_faults(random.Random(seed), rate=rate))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("election")
    parser.add_argument("record")
    parser.add_argument("--id")
    parser.add_argument("--ttl", type=float, default=1.0)
    parser.add_argument("--priority", type=int, default=0)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--faults", type=float)
    given = parser.parse_args()
    pause_s = 0.0 if given.tight else ASK_EVERY_S
    if sys.platform == "linux":
        # Also while it is stopped it must not outlive the test run.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=obey, args=(orders, stop), daemon=True).start()
    with leasekit.connect(given.url) as store:
        if given.faults:
            make_unreliable(store, given.faults)
        election = leasekit.Election(
            given.election, store, id=given.id, ttl_s=given.ttl, priority=given.priority, meta={"test": "scenario"}
        )
        record = Record(given.record, election.id)
        record.write("started")
        while not stop.is_set():
            election.run(lambda leadership: lead(leadership, record, orders, pause_s), stop)
            if given.once:
                break
    record.write("ended")


if __name__ == "__main__":
    main()
