"""A writer's process (`adversary.process`), as a round sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PYTHONPATH = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
"""By which other processes find these modules, however the tests were started."""


class Player:
    """One process. Kill it at the end: it may be stopped."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=file, text=True, env=environment
            )
        self.pid = self._process.pid

    def ended(self) -> bool:
        """Whether it has; a stopped one has not."""
        return self._process.poll() is not None

    def stopped(self) -> bool:
        """Whether it is stopped by a signal now."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def tell(self, order: str) -> None:
        """Nothing happens if it has ended: the round shows that soon enough."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
