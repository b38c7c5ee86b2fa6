"""Busy processes on one core, and whom they crowd."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.processes import ServerProcess

COUNT = 8


class Hogs:
    """Shared by all rounds of this process, so that their number does not rise with the rounds'."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users = 0
        self._running: list[ServerProcess] = []

    @contextmanager
    def crowding(self, *pids: int) -> Iterator[None]:
        """Leave these processes no other core than the one that is crowded."""
        core = {max(os.sched_getaffinity(0))}
        with self._guard:
            self._users += 1
            if self._users == 1:
                self._start(core)
        try:
            for pid in pids:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    with suppress(ProcessLookupError):  # a thread that has ended meanwhile
                        os.sched_setaffinity(int(task.name), core)
            yield
        finally:
            with self._guard:
                self._users -= 1
                if self._users == 0:
                    while self._running:
                        self._running.pop().kill()

    def _start(self, core: set[int]) -> None:
        log = Path(tempfile.gettempdir()) / f"leasekit-hogs-{os.getpid()}"
        for _ in range(COUNT):
            hog = ServerProcess([sys.executable, "-I", "-S", "-c", "while True: pass"], log)
            os.sched_setaffinity(hog.pid, core)
            self._running.append(hog)
        log.unlink(missing_ok=True)


HOGS = Hogs()
