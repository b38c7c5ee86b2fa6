"""The `leasekit` command as a real process, over a store of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.pausing import pause

TIMEOUT_S = 60.0
_MAIN = "from leasekit.cli.main import main; main()"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its output as one JSON object."""
        data = json.loads(self.out)
        assert isinstance(data, dict)
        assert data["schema"] == 1
        return data


class Running:
    """A command that runs. Its standard error is kept in a file, so that it can never block for want of a reader."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path, store_url: str | None) -> None:
        self.process = process
        self.pid = process.pid
        self._store_url = store_url
        self._errors = errors

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def line_with(self, word: str) -> str:
        """The next line with `word` in it."""
        while word not in (line := self.line()):
            assert line or self.process.poll() is None, f"ended before it said {word!r}: {self._errors.read_text()}"
        return line

    @property
    def complaints(self) -> str:
        """What it has written to standard error so far."""
        return self._errors.read_text()

    def errors(self) -> str:
        """What it has said on standard error so far."""
        return self._errors.read_text()

    def signal(self, number: signal.Signals) -> None:
        if number is signal.SIGSTOP:
            pause(self.pid, self._store_url)
        else:
            self.process.send_signal(number)

    def end(self, timeout_s: float = TIMEOUT_S) -> Done:
        """Wait for its end."""
        out, _ = self.process.communicate(timeout=timeout_s)
        return Done(self.process.returncode, (out or b"").decode(), self._errors.read_text())


class Command:
    """The `leasekit` command over one store."""

    def __init__(self, store_url: str | None, folder: Path) -> None:
        self.store_url = store_url
        self._folder = folder
        self._running: list[Running] = []

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEASEKIT_", "CONSUL_"))}
        store = {} if self.store_url is None else {"LEASEKIT_STORE": self.store_url}
        # Notes go to people, in the order in which they are said.
        return {**kept, "HOME": str(self._folder), "XDG_STATE_HOME": str(self._folder), **store, **changes}

    def start(self, *arguments: str, environment: dict[str, str] | None = None, **options: Any) -> Running:
        """Start `leasekit ARGUMENTS`."""
        errors = self._folder / f"stderr-{len(self._running)}"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _MAIN, *arguments],
                env=environment or self.environment(),
                stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=options.pop("stdout", subprocess.PIPE),
                stderr=stderr,
                bufsize=0,  # `communicate` passes over what `readline` would have read ahead
                **options,
            )
        self._running.append(Running(process, errors, self.store_url))
        return self._running[-1]

    def __call__(self, *arguments: str, environment: dict[str, str] | None = None) -> Done:
        """Run `leasekit ARGUMENTS` to its end."""
        return self.start(*arguments, environment=environment).end()

    def until(self, condition: Callable[[Done], bool], *arguments: str) -> Done:
        """Ask again and again until the answer is such."""
        give_up = time.monotonic() + TIMEOUT_S
        while not condition(done := self(*arguments)):
            assert time.monotonic() < give_up, done
        return done

    def close(self) -> None:
        """End what still runs: politely, so that the watchdogs end as well, then by force."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGCONT)
                running.process.terminate()
        for running in self._running:
            try:
                running.process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.communicate()
