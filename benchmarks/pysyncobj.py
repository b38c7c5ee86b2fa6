"""Three PySyncObj members as processes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import venvs
from benchmarks.site import Reservation

_WORKER = Path(__file__).parent / "workers" / "with_pysyncobj.py"
_ELECTED_WITHIN_S = 20.0


class PySyncObj:
    """A cluster whose leader writes when asked to. `batch`: its setting `appendEntriesUseBatch`, on by default."""

    def __init__(self, *, batch: bool) -> None:
        self._setting = "batch" if batch else "single"
        self._members: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self._reserved = Reservation(3)
        addresses = [f"127.0.0.1:{port}" for port in self._reserved.ports]
        for address in addresses:
            others = ",".join(other for other in addresses if other != address)
            command = [str(venvs.python("pysyncobj")), str(_WORKER), address, others, self._setting]
            member = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._members.append(member)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for member in self._members:
            member.kill()
            member.communicate()
        self._reserved.release()

    def write(self, clients: int, seconds: float) -> list[float]:
        """How long each write took that the leader made, `clients` of them at a time."""
        took_s: list[float] = self._ask(self._leader(), f"write {clients} {seconds}")
        return took_s

    def _leader(self) -> subprocess.Popen[str]:
        give_up_s = time.monotonic() + _ELECTED_WITHIN_S
        while time.monotonic() < give_up_s:
            for member in self._members:
                if self._ask(member, "status"):
                    return member
            time.sleep(0.1)
        raise TimeoutError("PySyncObj has elected nobody")

    @staticmethod
    def _ask(member: subprocess.Popen[str], command: str) -> Any:
        assert member.stdin is not None
        assert member.stdout is not None
        member.stdin.write(command + "\n")
        member.stdin.flush()
        return json.loads(member.stdout.readline())
