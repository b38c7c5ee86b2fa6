"""The same under uvicorn, as real processes: a leader that is killed, several workers, and a fork after loading."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import leasekit
from support.ports import Reservation
from support.processes import ServerProcess

PATIENCE_S = 60.0
HERE = Path(__file__).parent


class Uvicorn:
    """Server processes over one SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"sqlite:///{folder}/leases.db"
        self._notes = folder / "notes"
        self._notes.touch()
        self.processes: list[ServerProcess] = []
        self._reserved = Reservation(2)

    def start(self, *options: str) -> int:
        """Another one; returns its port."""
        port = self._reserved.ports[len(self.processes)]
        environment = {"LEASEKIT_STORE": self.url, "NOTES": str(self._notes)}
        where = ("--app-dir", HERE, "--port", str(port))
        # A worker that is slow to answer is not to be replaced.
        told = ("--log-level", "warning", "--timeout-worker-healthcheck", str(int(PATIENCE_S)))
        serve = ("-m", "uvicorn", "web_app:app", *where, *told)
        set_up = ("env", *(f"{name}={value}" for name, value in environment.items()))
        log = self._folder / f"uvicorn-{port}.log"
        self.processes.append(ServerProcess([*set_up, sys.executable, *serve, *options], log))
        return port

    def role(self, port: int) -> dict[str, Any] | None:
        """What one says of itself; None if it does not answer."""
        try:
            told: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/role", timeout=5).json()
        except httpx.TransportError:
            return None
        return told

    def notes(self) -> list[tuple[str, int, int]]:
        """What happened: began or ended, the process, the token."""
        lines = [line.split() for line in self._notes.read_text().splitlines()]
        return [(what, int(pid), int(token)) for what, pid, token in lines]

    def close(self) -> None:
        for process in self.processes:
            process.signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()
        self._reserved.release()


@pytest.fixture
def uvicorn(tmp_path: Path) -> Iterator[Uvicorn]:
    servers = Uvicorn(tmp_path)
    yield servers
    servers.close()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_when_the_leading_server_is_killed_the_other_leads(uvicorn: Uvicorn) -> None:
    ports = [uvicorn.start(), uvicorn.start()]
    until(lambda: all(uvicorn.role(port) is not None for port in ports))
    until(lambda: bool(uvicorn.notes()))
    [(_, pid, token)] = uvicorn.notes()
    [killed] = [process for process in uvicorn.processes if process.pid == pid]
    other = next(port for process, port in zip(uvicorn.processes, ports, strict=True) if process is not killed)
    follower = uvicorn.processes[ports.index(other)].pid
    until(lambda: uvicorn.role(other) == {"pid": follower, "leading": False})
    killed.kill()
    until(lambda: uvicorn.role(other) == {"pid": follower, "leading": True})
    # It leads a moment before its work begins.
    until(lambda: len(uvicorn.notes()) > 1)
    began = uvicorn.notes()[-1]
    assert began[:2] == ("began", follower) and began[2] > token


def test_of_several_workers_one_leads_and_at_the_end_nobody(uvicorn: Uvicorn) -> None:
    port = uvicorn.start("--workers", "2")
    seen: dict[int, bool] = {}

    def both_seen() -> bool:
        # Each question is a new connection, which either worker may take.
        if (told := uvicorn.role(port)) is not None:
            seen[told["pid"]] = told["leading"]
        return sorted(seen.values()) == [False, True]

    until(both_seen)
    uvicorn.processes[0].signal(signal.SIGTERM)
    uvicorn.processes[0].wait(PATIENCE_S)
    # The other may have led for a moment between the two ends.
    notes = uvicorn.notes()
    assert [note for note in notes if note[0] == "began"] == [
        ("began", *note[1:]) for note in notes if note[0] == "ended"
    ]
    with leasekit.connect(uvicorn.url) as store:
        assert leasekit.Election("reports", store).leader() is None
        assert leasekit.Election("reports", store).candidates() == []


_FORKING = """
import asyncio, os, sys
from leasekit.integrations.asgi import BackgroundLeadership
background = BackgroundLeadership("reports", ttl_s=2)   # loaded first, then forked, as preloading servers do

async def serve():
    async with background.lifespan():
        for _ in range(3000):
            if background.leading:
                return 0
            await asyncio.sleep(0.02)
    return 1

children = [os.fork() for _ in range(2)]
if 0 in children:
    code = asyncio.run(serve())
    sys.stdout.flush()
    os._exit(code)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_an_application_may_be_loaded_before_the_fork(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKING],
        env={**os.environ, "LEASEKIT_STORE": f"sqlite:///{tmp_path}/leases.db"},
        capture_output=True,
        text=True,
        timeout=1.5 * PATIENCE_S,
        check=True,
    )
    assert done.stdout == "[0, 0]\n", done.stderr
