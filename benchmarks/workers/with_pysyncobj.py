"""One PySyncObj member under measurement: a dictionary, replicated. It never waits for its disk.

Arguments: its address, the others' by comma, "batch" or "single" (its setting `appendEntriesUseBatch`). A line on stdin
is a command, a line of JSON on stdout its answer:

    write CLIENTS SECONDS   so many writers for so long; how long each write took
    status                  whether it leads
"""

import json
import sys
import threading
import time

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated  # type: ignore[import-not-found, unused-ignore]

VALUE = "v" * 256


class Keys(SyncObj):  # type: ignore[misc, unused-ignore]
    """What is replicated."""

    def __init__(self, address: str, others: list[str], *, batch: bool) -> None:
        super().__init__(address, others, SyncObjConf(appendEntriesUseBatch=batch, autoTickPeriod=0.001))
        self.keys: dict[str, str] = {}

    @replicated  # type: ignore[misc, untyped-decorator, unused-ignore]
    def put(self, key: str, value: str) -> None:
        """Set `key`."""
        self.keys[key] = value


def write(keys: Keys, clients: int, seconds: float) -> list[float]:
    """Each writer writes again as soon as its last write was applied."""
    took_s: list[float] = []
    until_s = time.monotonic() + seconds
    writing = threading.Semaphore(0)

    def again(client: int) -> None:
        began_s = time.monotonic()

        def applied(_result: object, failure: int) -> None:
            if failure == FAIL_REASON.SUCCESS:
                took_s.append(time.monotonic() - began_s)
            if time.monotonic() < until_s:
                again(client)
            else:
                writing.release()

        keys.put(f"bench/{client}", VALUE, callback=applied)

    for client in range(clients):
        again(client)
    for _ in range(clients):
        writing.acquire()
    return took_s


def main() -> None:
    """Obey until stdin ends."""
    address, others, setting = sys.argv[1:]
    keys = Keys(address, others.split(","), batch=setting == "batch")
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "write":
            answer: object = write(keys, int(arguments[0]), float(arguments[1]))
        else:
            answer = str(keys._getLeader()) == address and keys.isReady()
        print(json.dumps(answer), flush=True)
    keys.destroy()


main()
