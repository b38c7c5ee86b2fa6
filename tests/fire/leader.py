"""One `leasekit run` of a round: started, watched through its journal and its command's signs of life, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import leasekit as leasekit_package
from fire import command, told
from fire.signs import last_sign_s
from leasekit.core.journal_event import ENDS, JournalEvent, Kind, load
from support.children import pids_with
from support.pausing import pause

GIVE_UP_S = 180.0
_LOOK_EVERY_S = 0.01
_T = TypeVar("_T")
_TESTS = Path(__file__).resolve().parent.parent
_PACKAGES = Path(leasekit_package.__file__).parent.parent
_MAIN = f"import sys; sys.path.insert(0, {str(_TESTS)!r}); from fire.told import run; run()"


def wait_for(look: Callable[[], _T | None], what: str, timeout_s: float = GIVE_UP_S) -> _T:
    """Until `look` answers something."""
    give_up_s = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < give_up_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(_LOOK_EVERY_S)
    return found


class LostEarlyError(Exception):
    """A leadership ended before anything was done to it: a machine this busy tells nothing."""


class Leader:
    """A `leasekit run`, its watchdog, and its command with processes of these kinds."""

    def __init__(self, folder: Path, url: str, *, ttl_s: float, grace_s: float, kinds: Sequence[str]) -> None:
        folder.mkdir()
        self.folder = folder
        self.kinds = (command.ITSELF, *(kind for kind in kinds if kind != command.HEIR))
        self._url = url
        self._journal = folder / "journal"
        self._deadline_file = folder / "deadline"
        leasekit = [sys.executable, "-P", "-c", _MAIN, "--journal", str(self._journal)]
        run = ["run", "job", "--id", folder.name, "--ttl", str(ttl_s), "--grace", str(grace_s), "--"]
        wrapped = [sys.executable, "-I", "-S", command.__file__, str(folder), str(_PACKAGES), *kinds]
        with (folder / "stderr").open("w") as errors:
            self.process = subprocess.Popen(
                [*leasekit, *run, *wrapped],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEASEKIT_", "CONSUL_"))}
        own = {"LEASEKIT_STORE": self._url, told.FILE_VARIABLE: str(self._deadline_file)}
        return {**kept, **own, "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder)}

    # What it tells.

    def events(self) -> list[JournalEvent]:
        """Its journal so far."""
        if not self._journal.exists():
            return []
        return [load(line) for line in self._journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def elected_s(self) -> float | None:
        """When it was elected; None as long as it is not."""
        return next((event.boot_s for event in self.events() if event.kind is Kind.ELECTED), None)

    def queues(self) -> bool:
        """Whether it has seen another lead: it looks as it enters the queue."""
        return any(event.kind is Kind.OBSERVED for event in self.events())

    def deadline_s(self) -> float:
        """Until when it might lead: as it says itself at the end, or else as it told its watchdog last."""
        ends = [event.deadline_s for event in self.events() if event.kind in ENDS and event.deadline_s is not None]
        deadline_s = ends[-1] if ends else last_sign_s(self._deadline_file)
        assert deadline_s is not None, "it never led"
        return deadline_s

    def check_that_it_led(self, until_s: float) -> None:
        """Raises LostEarlyError if its leadership had ended by then."""
        if any(event.kind in ENDS and event.boot_s < until_s for event in self.events()):
            raise LostEarlyError(self.errors().strip())

    def last_signs_s(self) -> dict[str, float]:
        """The last sign of life of each kind that has given one."""
        signs = {kind: last_sign_s(self.folder / kind) for kind in self.kinds}
        return {kind: sign for kind, sign in signs.items() if sign is not None}

    def wait_until_elected(self) -> None:
        """Until it leads. Raises LostEarlyError."""
        wait_for(lambda: self.elected_s() or self.process.poll() is not None, f"{self.folder.name} leads")
        if self.process.poll() is not None:
            raise LostEarlyError(self.errors().strip())

    def wait_until_up(self) -> None:
        """Until its command runs, with all its kinds. Raises LostEarlyError."""
        wait_for(self.is_up, f"{self.folder.name} leads and its command is up")

    def is_up(self) -> bool:
        """Whether all kinds of its command have given a sign."""
        if self.process.poll() is not None:
            raise LostEarlyError(self.errors().strip())
        return self.elected_s() is not None and len(self.last_signs_s()) == len(self.kinds)

    def errors(self) -> str:
        """What it said to people."""
        return (self.folder / "stderr").read_text()

    # What is done to it.

    @property
    def watchdog_pid(self) -> int:
        """Its only child. Raises LostEarlyError."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            children = []
        if not children:
            raise LostEarlyError(self.errors().strip())
        return int(children[0])

    def stop(self) -> None:
        """SIGSTOP to leasekit, at a moment when it holds no lock on an SQLite file."""
        pause(self.process.pid, self._url)

    def alive(self) -> list[int]:
        """leasekit, the watchdog, and all of the command that still run."""
        return pids_with(str(self.folder))

    def end(self) -> None:
        """Leave nothing of it, whatever became of it."""
        while alive := self.alive():
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()
