"""Every process that the comparison starts, so that none is left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leasekit import errors
from leasekit.cli.compare.launch import ENDING

_OUTPUT_SHOWN = 600
_READ_BYTES = 1 << 16


class ChildEnded(errors.LeasekitError):
    """A process that was needed ended by itself."""


class WorkerFault(Exception):
    """A fault of ours, in a worker."""


class Children:
    """A context manager: on leaving it, all processes that were started here have been killed and waited for.

    Nothing in it awaits, so that no interruption can come between a start and the note of it, or into the ending.
    """

    def __init__(self) -> None:
        self._running: set[Child] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill_all()

    def kill_all(self) -> None:
        """All at once, then wait for each."""
        for child in self._running:
            child.process.kill()
        for child in list(self._running):
            child.kill()

    def server(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> Child:
        """Start a program whose output goes to the end of `log`."""
        me = str(os.getpid())
        launch = [sys.executable, "-P", "-m", "leasekit.cli.compare.launch", me, *map(str, command)]
        with log.open("ab") as output, _undisturbed():
            process = subprocess.Popen(
                launch, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, process_group=0
            )
        return self._keep(Child(self, process, log))

    def worker(self, name: str, log: Path, environment: Mapping[str, str]) -> Worker:
        """Start a worker (`leasekit.cli.compare.worker`)."""
        command = [sys.executable, "-P", "-m", "leasekit.cli.compare.worker", str(os.getpid())]
        with log.open("ab") as output, _undisturbed():
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                process_group=0,  # Ctrl-C is the comparison's, which ends its children itself
            )
        worker = Worker(self, process, log, name)
        self._keep(worker)
        return worker

    def _keep(self, child: Child) -> Child:
        self._running.add(child)
        return child

    def forget(self, child: Child) -> None:
        """It has ended, and was waited for."""
        self._running.discard(child)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait until a process is born; see `launch.hear_signals`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Child:
    """A process."""

    def __init__(self, among: Children, process: subprocess.Popen[bytes], log: Path) -> None:
        self._among = among
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a stopped one runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait()
        self._among.forget(self)

    def pause(self) -> None:
        """SIGSTOP. Returns when it has stopped: until then it may still act."""
        self.process.send_signal(signal.SIGSTOP)
        if self.running and hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    @property
    def said(self) -> str:
        """All that it has logged."""
        try:
            return self._log.read_text(errors="replace").strip()
        except OSError:
            return ""

    @property
    def said_last(self) -> str:
        """The end of that, for people."""
        return self.said[-_OUTPUT_SHOWN:]


class Worker(Child):
    """A process that obeys: one JSON object a line each way. Requests may be under way side by side."""

    def __init__(self, among: Children, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
        super().__init__(among, process, log)
        self.name = name
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._partial = b""
        self._silent = False
        """It has closed its end: no answer will come any more, though a request may still fit into the pipe."""
        assert process.stdin is not None and process.stdout is not None
        self._commands, self._answers = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._answers, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._answers, self._hear)

    def send(self, what: str, **arguments: object) -> asyncio.Future[dict[str, Any]]:
        """Have it do something; the future has its answer, or an error of the worker's own kind."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked[number] = answer
        answer.add_done_callback(lambda _: self._asked.pop(number, None))
        line = json.dumps({"number": number, "do": what, **arguments}).encode() + b"\n"
        try:
            os.write(self._commands, line)
        except OSError:
            self._silent = True
        if self._silent:
            _fail(answer, self._ended())
        return answer

    async def ask(self, what: str, *, within_s: float = 60.0, **arguments: object) -> dict[str, Any]:
        """The same, and wait for the answer. Raises StoreUnavailable if there is none within that time."""
        try:
            async with asyncio.timeout(within_s):
                return await self.send(what, **arguments)
        except TimeoutError:
            raise errors.StoreUnavailable(
                f"process {self.name!r} was told to {what!r} and has not answered for {within_s:g} s"
            ) from None

    def kill(self) -> None:
        self._loop.remove_reader(self._answers)
        super().kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self._fail_asked()

    def _hear(self) -> None:
        try:
            data = os.read(self._answers, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._silent = True
            self._loop.remove_reader(self._answers)
            self._fail_asked()
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            answer = self._asked.get(told["number"])
            if answer is None or answer.done():
                continue
            if "error" in told:
                _fail(answer, _error(told))
            else:
                answer.set_result(told["answer"])

    def _fail_asked(self) -> None:
        for answer in list(self._asked.values()):
            if not answer.done():
                _fail(answer, self._ended())

    def _ended(self) -> ChildEnded:
        return ChildEnded(f"process {self.name!r} ended by itself. {self.said_last}")


def _fail(answer: asyncio.Future[dict[str, Any]], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # seen: perhaps nobody waits for it any more


def _error(told: Mapping[str, Any]) -> Exception:
    text = str(told["error"])
    return WorkerFault(text) if told["kind"] == "fault" else errors.StoreUnavailable(text)
