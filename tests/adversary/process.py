"""One writer as a process: campaigns, and writes with the token it got until it is told to end, whoever leads by then.

The successor campaigns again if it loses its leadership, as it may on a busy machine, and goes on with the new token.

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

PAUSE_S = (0.02, 0.3)
"""Between two attempts."""
STOPS_AT_SHARE = 0.3
PR_SET_PDEATHSIG = 1


class Stubborn:
    """Writes with one token, and never asks whether it still leads: the guard alone is on trial."""

    leadership: leasekit.Leadership

    def __init__(self, task: dict[str, Any], pen: Pen) -> None:
        self._name: str = task["writer"]
        self._random = random.Random(task["seed"])
        self._pen = pen
        self._to_stop = threading.Event()
        self._over = threading.Event()

    def write_on(self, writer: Writer) -> None:
        self._writer = writer
        threading.Thread(target=self._obey, daemon=True).start()
        number = 0
        # No time.sleep: under libfaketime it fails.
        while not self._over.wait(self._random.uniform(*PAUSE_S)):
            number += 1
            write = Held(self._name, number, self.leadership.token)
            self._pen.write("begin", number=number, token=write.token)
            outcome, why = self._attempt(write)
            self._pen.write("end", number=number, outcome=outcome, why=why)

    def campaign_again(self, election: leasekit.Election) -> None:
        """Whenever the leadership is lost."""
        while True:
            self.leadership.wait_lost()
            self._pen.write("campaigns")
            leadership = election.campaign()
            self._pen.write("elected", token=leadership.token)
            self.leadership = leadership

    def _attempt(self, write: Held) -> tuple[Outcome, str]:
        try:
            self._writer.write(write)
        except (FencingRejected, LeadershipLost) as error:
            return Outcome.REFUSED, str(error)
        except (NotWritten, StoreUnavailable) as error:
            return Outcome.FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - whatever a client says of a lost answer
            return Outcome.UNKNOWN, repr(error)
        return Outcome.ACCEPTED, ""

    def between(self) -> None:
        """A moment to be stopped at. Not always the first that comes, since a write may have several."""
        if self._to_stop.is_set() and self._random.random() < STOPS_AT_SHARE:
            self._to_stop.clear()
            self._pen.write("stops")
            os.kill(os.getpid(), signal.SIGSTOP)

    def _obey(self) -> None:
        for line in sys.stdin:
            order = line.strip()
            if order == "stop":
                self._to_stop.set()
            elif order == "resign":
                # Its own thread: it may wait for the store, and `end` must be heard.
                threading.Thread(target=self.leadership.resign, daemon=True).start()
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
    stubborn = Stubborn(task, pen)
    writer = writer_for(task["guard"], task["resource"], election, stubborn.between)
    pen.write("campaigns")
    leadership = election.campaign()
    pen.write("elected", token=leadership.token)
    stubborn.leadership = leadership
    if task["again"]:
        threading.Thread(target=stubborn.campaign_again, args=(election,), daemon=True).start()
    stubborn.write_on(writer)
    pen.write("done")
    # What it holds runs out by itself; nobody waits for that.
    os._exit(0)


if __name__ == "__main__":
    main()
