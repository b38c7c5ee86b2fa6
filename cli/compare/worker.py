"""A process of the comparison: does what it is told over stdin, a JSON object a line, and answers on stdout.

The store is that of LEASEKIT_STORE. Moments are seconds on CLOCK_BOOTTIME, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from leasekit.cli.compare.candidacies import Candidacies
from leasekit.cli.compare.counted import CountedConnection
from leasekit.cli.compare.direct import Direct
from leasekit.cli.compare.launch import hear_signals
from leasekit.errors import LeasekitError
from leasekit.watchdog import processes

_CLOSE_TIMEOUT_S = 1.0

Deed = Callable[..., Awaitable[dict[str, Any]]]


class Obedience:
    """Carries out requests side by side."""

    def __init__(self) -> None:
        self._connection = CountedConnection(None)
        deeds = (Candidacies(self._connection), Direct(self._connection))
        self._deeds: dict[str, Deed] = {
            name: getattr(part, name) for part in deeds for name in dir(part) if not name.startswith("_")
        }
        self._tasks: set[asyncio.Task[None]] = set()

    def obey(self, line: str) -> None:
        """Begin what the line asks for."""
        asked = json.loads(line)
        number, what = asked.pop("number"), asked.pop("do")
        task = asyncio.create_task(self._do(number, self._deeds[what], asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, number: int, deed: Deed, arguments: dict[str, Any]) -> None:
        told: dict[str, Any]
        try:
            told = {"answer": await deed(**arguments)}
        except LeasekitError as error:
            told = {"error": str(error), "kind": type(error).__name__}
        except Exception as error:  # noqa: BLE001 (a fault of ours, which must be heard of)
            told = {"error": f"{type(error).__name__}: {error}", "kind": "fault"}
        sys.stdout.write(json.dumps({"number": number, **told}) + "\n")
        sys.stdout.flush()


async def serve() -> None:
    """Until stdin ends."""
    obedience = Obedience()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    # A thread reads: a request that comes while this process is stopped is there at once when it goes on.
    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(obedience.obey, line)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="requests", daemon=True).start()
    await ended.wait()


def main(parent: str) -> None:
    """`parent` is the comparison's process id; this process ends with it."""
    hear_signals()
    processes.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() != int(parent):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
