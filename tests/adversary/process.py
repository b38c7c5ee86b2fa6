"""One writer as a process: campaigns, and writes with the token it got until it is told to end, whoever leads by then.

Usage: python -m adversary.process TASK, a JSON object (`adversary.round` makes it). Obeys lines on its standard input: `stop` (stop yourself by SIGSTOP
between the check and the write of some attempt), `resign` (while the writing goes on), `end`.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import threading
from typing import Any

import leasekit
from adversary.record import Held, Outcome, Pen
from adversary.writers import NotWritten, Writer, writer_for
from leasekit.errors import FencingRejected, LeadershipLost, StoreUnavailable

PAUSE_S = (0.01, 0.1)
"""Between two attempts."""
PR_SET_PDEATHSIG = 1


class Stubborn:
    """Writes with one token, and never asks whether it still leads: the guard alone is on trial."""

    def __init__(self, task: dict[str, Any], pen: Pen, writer: Writer, leadership: leasekit.Leadership) -> None:
        self._name: str = task["writer"]
        self._random = random.Random(task["seed"])
        self._pen = pen
        self._writer = writer
        self._leadership = leadership
        self._stops_at_next = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._obey, daemon=True).start()

    def write_on(self) -> None:
        number = 0
        # No time.sleep: under libfaketime it fails.
        while not self._over.wait(self._random.uniform(*PAUSE_S)):
            number += 1
            self._pen.write("begin", number=number, token=self._leadership.token)
            outcome, why = self._attempt(Held(self._name, number, self._leadership.token))
            self._pen.write("end", number=number, outcome=outcome, why=why)

    def _attempt(self, write: Held) -> tuple[Outcome, str]:
        try:
            self._writer.write(write, self._between)
        except (FencingRejected, LeadershipLost) as error:
            return Outcome.REFUSED, str(error)
        except (NotWritten, StoreUnavailable) as error:
            return Outcome.FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - whatever a client says of a lost answer
            return Outcome.UNKNOWN, repr(error)
        return Outcome.ACCEPTED, ""

    def _between(self) -> None:
        if self._stops_at_next.is_set():
            self._stops_at_next.clear()
            self._pen.write("stops")
            os.kill(os.getpid(), signal.SIGSTOP)

    def _obey(self) -> None:
        for line in sys.stdin:
            order = line.strip()
            if order == "stop":
                self._stops_at_next.set()
            elif order == "resign":
                # Its own thread: it may wait for the store, and `end` must be heard.
                threading.Thread(target=self._leadership.resign, daemon=True).start()
            else:
                assert order == "end", order
                break
        self._over.set()


def main() -> None:
    task = json.loads(sys.argv[1])
    if sys.platform == "linux":
        # Also while it is stopped it must not outlive the round.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pen = Pen(task["record"], task["writer"])
    store = leasekit.connect(task["store"])
    election = leasekit.Election(task["election"], store, id=task["writer"], ttl_s=task["ttl_s"])
    writer = writer_for(task["guard"], task["resource"], election)
    pen.write("campaigns")
    leadership = election.campaign()
    pen.write("elected", token=leadership.token)
    Stubborn(task, pen, writer, leadership).write_on()
    pen.write("done")
    # What it holds runs out by itself; nobody waits for that.
    os._exit(0)


if __name__ == "__main__":
    main()
