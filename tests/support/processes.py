"""Server processes that never outlive the test run, however it ends."""

from __future__ import annotations

import atexit
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

_running: dict[int, ServerProcess] = {}
_owner_pid = os.getpid()


class ServerProcess:
    """One server, its output going to `log`."""

    def __init__(self, arguments: Sequence[str | Path], log: Path) -> None:
        self.log = log
        # The kernel kills the server when we die, even by SIGKILL. `setpriv` sets that without code between fork and
        # exec, which would be unsafe beside gRPC's threads.
        setpriv = shutil.which("setpriv")
        command = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        command += [str(argument) for argument in arguments]
        self._process = _spawner().spawn(command, log)
        self.pid = self._process.pid
        _running[self.pid] = self

    @property
    def running(self) -> bool:
        """Whether it has not ended; a stopped one counts as running."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send `number`; nothing happens if it has ended."""
        self._process.send_signal(number)
        if number is signal.SIGSTOP and self.running and hasattr(os, "waitid"):
            # It stops in its own time: until it has, it may still answer what is sent to it.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if os.getpid() != _owner_pid:  # a fork of the test process: the server is its parent's
            return
        self._process.kill()
        self._process.wait()
        _running.pop(self.pid, None)

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends by itself; its exit code. Raises subprocess.TimeoutExpired."""
        code = self._process.wait(timeout_s)
        _running.pop(self.pid, None)
        return code

    def output(self, characters: int = 3000) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-characters:]


def running_pids() -> set[int]:
    """The servers that this process runs."""
    return set(_running)


class _Spawner:
    """A thread that starts all servers: PDEATHSIG fires when the thread that spawned dies, so that one must stay."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[list[str], Path, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="server-spawner", daemon=True).start()

    def spawn(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        started: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((command, log, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            command, log, started = self._work.get()
            try:
                with log.open("ab") as output:
                    # A session of its own: Ctrl-C reaches pytest alone, which then ends the servers in its own time.
                    process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                    )
            except OSError as error:
                started.set_exception(error)
            else:
                started.set_result(process)


_the_spawner: _Spawner | None = None
_spawner_guard = threading.Lock()


def _spawner() -> _Spawner:
    global _the_spawner
    with _spawner_guard:
        if _the_spawner is None:
            _the_spawner = _Spawner()
        return _the_spawner


@atexit.register
def _kill_all() -> None:
    for server in list(_running.values()):
        server.kill()
