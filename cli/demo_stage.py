"""The demo's stage: starts workers, hears what they say, tells it as it happens, and clears up whatever comes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.errors import StoreUnavailable

COLOURS = ("cyan", "magenta", "yellow")
END_TIMEOUT_S = 3.0


class Worker:
    """One worker process."""

    def __init__(self, name: str, colour: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.colour = colour
        self.lines = 0
        self.begun = 0
        """How many lines it has begun to work on, without what was refused."""
        self._partial = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leasekit.cli.demo_worker", name, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)

    def hear(self) -> list[dict[str, Any]] | None:
        """What it has said since last asked; None once it has ended."""
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return []
        if not data:
            return None
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        """Returns when it has stopped: until then it may still act."""
        self._process.send_signal(signal.SIGSTOP)
        if self._process.poll() is None and hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        """TERM, and KILL if that does not help."""
        self.resume()
        self.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def close(self) -> None:
        """See to it that nothing of it is left."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a worker said, and when it was heard."""

    worker: Worker
    event: str
    details: dict[str, Any]
    at: Instant


class Stage:
    """A context manager: on leaving it, however that comes, no worker is left."""

    def __init__(self, url: str, ttl_s: float, database_file: Path) -> None:
        self.election = f"leasekit-demo-{os.getpid()}"
        self.refused = 0
        self.leader: Worker | None = None
        """Who was elected last."""
        self._environment = {**os.environ, "LEASEKIT_STORE": url}
        self._arguments = [self.election, str(ttl_s), str(database_file)]
        self._workers: list[Worker] = []
        self._heard: list[Happening] = []
        self._began = SYSTEM_CLOCK.now()
        self._acted = self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def start(self, name: str) -> None:
        """Start a worker."""
        colour = COLOURS[len(self._workers) % len(COLOURS)]
        self._workers.append(Worker(name, colour, self._arguments, self._environment))

    def end_all(self) -> None:
        """Let everybody resign, so that the store is left clean."""
        for worker in self._workers:
            worker.resume()
            worker.terminate()
        for worker in self._workers:
            worker.end()

    # Telling.

    def say(self, text: str) -> None:
        """A line of the narrator's."""
        click.echo(text)

    def act(self, text: str) -> None:
        """Something is done to a worker; times are measured from here."""
        self.forget()
        self._acted = SYSTEM_CLOCK.now()
        self._line(click.style(f"--- {text}", bold=True))

    def tell(self, text: str) -> None:
        """A line of what happens elsewhere than with the workers."""
        self._line(text)

    def has_heard(self, event: str) -> bool:
        """Whether a worker has said so since the last act."""
        return any(happening.event == event for happening in self._heard)

    def forget(self) -> None:
        """What was heard so far no longer counts for `wait_for`."""
        self._heard.clear()

    def since_act_s(self, at: Instant) -> float:
        """Seconds from the last act until then."""
        return self._acted.until(at)

    def _line(self, text: str) -> None:
        click.echo(f"{self._began.until(SYSTEM_CLOCK.now()):6.2f} s  {text}")

    # Hearing.

    def wait_for(self, event: str, timeout_s: float, *, by: Worker | None = None) -> Happening:
        """The first such event heard since the last act. Raises StoreUnavailable if it does not come in time."""
        give_up = SYSTEM_CLOCK.now().plus(timeout_s)
        while True:
            for happening in self._heard:
                if happening.event == event and by in (None, happening.worker):
                    self._heard.remove(happening)
                    return happening
            left_s = SYSTEM_CLOCK.now().until(give_up)
            if left_s <= 0:
                who = by.name if by is not None else "any worker"
                raise StoreUnavailable(f"the demo waited {timeout_s:g} s for {who} to say {event!r}, in vain")
            self._listen(left_s)

    def look_on(self, duration_s: float) -> None:
        """Tell what happens for a while."""
        until = SYSTEM_CLOCK.now().plus(duration_s)
        while (left_s := SYSTEM_CLOCK.now().until(until)) > 0:
            self._listen(left_s)

    def _listen(self, timeout_s: float) -> None:
        poll = select.poll()
        by_output = {worker.output: worker for worker in self._workers}
        for output in by_output:
            poll.register(output, select.POLLIN)
        for output, _ in poll.poll(timeout_s * 1000):
            worker = by_output[output]
            told = worker.hear()
            if told is None:
                self._workers.remove(worker)
                worker.close()
                continue
            for details in told:
                self._note(Happening(worker, details.pop("event"), details, SYSTEM_CLOCK.now()))

    def _note(self, happening: Happening) -> None:
        self._heard.append(happening)
        worker, details = happening.worker, happening.details
        match happening.event:
            case "elected":
                self.leader = worker
                text = f"elected, token {details['token']}"
            case "computing":
                worker.begun += 1
                return
            case "wrote":
                worker.lines += 1
                text = f"wrote line {worker.lines}"
            case "refused":
                self.refused += 1
                worker.begun -= 1
                text = f"WRITE REFUSED: its token is {details['token']}, the highest seen is {details['highest']}"
            case "lost":
                text = f"knows that its leadership is over: {details['reason']}"
            case "resigned":
                text = "resigned"
            case _:
                return
        self._line(f"{click.style(worker.name, fg=worker.colour)}  {text}")
