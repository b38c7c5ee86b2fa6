"""Who is measured: processes that are told to acquire and to release, and tell when they did."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks import venvs

PATIENCE_S = 60.0


class Contestant(ABC):
    """Candidates of one kind, in one election. Times are seconds on CLOCK_MONOTONIC."""

    queued_s: float
    """How long a newcomer may take to reach the queue."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._held: asyncio.Queue[float] = asyncio.Queue()
        self._released: asyncio.Queue[float] = asyncio.Queue()

    @abstractmethod
    async def add(self, count: int = 1) -> None:
        """So many more candidates queue, in another process than the last ones."""

    @abstractmethod
    async def release(self) -> float:
        """Have the holder let go; returns when it began to."""

    @abstractmethod
    async def kill(self) -> float:
        """Kill the holder's process by SIGKILL; returns when."""

    @abstractmethod
    async def close(self) -> None:
        """End all processes."""

    async def held(self) -> float:
        """Wait until another candidate holds; returns since when."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._held.get()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Workers(Contestant):
    """Two processes of `benchmarks.workers`, which take turns."""

    queued_s = 0.3

    def __init__(
        self,
        name: str,
        module: str,
        *arguments: str,
        python: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.election = arguments[1]
        self._command = [str(python or sys.executable), "-m", f"benchmarks.workers.{module}", *arguments]
        self._environment = os.environ | (environment or {})
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._holder: asyncio.subprocess.Process | None = None
        self._turn = 0

    async def start(self, count: int = 2) -> None:
        """Start the processes that are still missing of `count`, and wait until they obey."""
        for _ in range(count - len(self._processes)):
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=venvs.REPOSITORY,
                env=self._environment,
                limit=1 << 24,
            )
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(process)))
            await self._answer("ready")

    async def pairs(self, count: int) -> tuple[list[float], float]:
        """Acquire and release `count` times, uncontended: how long each took, and the processor time of one, in seconds."""
        await self.start(1)
        self._tell(self._processes[0], f"pairs {count}")
        answer = await self._answer("pairs")
        return answer["pairs"], answer["cpu_s"]

    async def elections(self, count: int) -> tuple[dict[str, float], dict[str, float]]:
        """Hold `count` leaderships in one process: what it took up before, and now."""
        await self.start(1)
        self._tell(self._processes[0], f"elections {count}")
        answer = await self._answer("after")
        return answer["before"], answer["after"]

    async def add(self, count: int = 1) -> None:
        await self.start()
        self._tell(self._processes[self._turn % len(self._processes)], f"add {count}")
        self._turn += 1

    async def release(self) -> float:
        assert self._holder is not None
        self._tell(self._holder, "release")
        async with asyncio.timeout(PATIENCE_S):
            return await self._released.get()

    async def kill(self) -> float:
        holder = self._holder
        assert holder is not None
        self._processes.remove(holder)
        # Whoever is added next goes to the process that takes its place.
        self._turn = len(self._processes)
        killed_s = time.monotonic()
        holder.kill()
        await holder.wait()
        return killed_s

    async def close(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)

    def _tell(self, process: asyncio.subprocess.Process, command: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{command}\n".encode())

    async def _answer(self, key: str) -> dict[str, Any]:
        async with asyncio.timeout(5 * PATIENCE_S):
            answer = await self._answers.get()
        if key not in answer:
            raise RuntimeError(f"{self.name}: expected {key!r}, heard {answer}")
        return answer

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = json.loads(line)
            if "held" in event:
                self._holder = process
                self._held.put_nowait(event["held"])
            elif "released" in event:
                self._released.put_nowait(event["released"])
            else:
                self._answers.put_nowait(event)
        if process in self._processes:  # not by our hand
            self._answers.put_nowait({"ended": await process.wait()})


class Commands(Contestant):
    """One process of a command for each candidate. It holds when it prints its first line.

    `by_signal`: SIGINT makes it let go; otherwise the command that it wraps ends, by the end of its stdin.
    """

    queued_s = 2.0  # it has to start first, on a busy machine

    def __init__(
        self, name: str, command: Sequence[str | Path], *, by_signal: bool, environment: dict[str, str] | None = None
    ) -> None:
        super().__init__(name)
        self._command = [str(part) for part in command]
        self._by_signal = by_signal
        self._environment = os.environ | (environment or {})
        self._processes: set[asyncio.subprocess.Process] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._holder: asyncio.subprocess.Process | None = None

    async def add(self, count: int = 1) -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
            self._processes.add(process)
            reader = asyncio.create_task(self._read(process))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)

    async def release(self) -> float:
        assert self._holder is not None and self._holder.stdin is not None
        released_s = time.monotonic()
        if self._by_signal:
            os.kill(self._holder.pid, signal.SIGINT)
        else:
            self._holder.stdin.close()
        return released_s

    async def kill(self) -> float:
        assert self._holder is not None
        killed_s = time.monotonic()
        self._holder.kill()
        return killed_s

    async def close(self) -> None:
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.gather(*self._readers)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        if await process.stdout.readline():
            held_s = time.monotonic()
            self._holder = process
            self._held.put_nowait(held_s)
            await process.stdout.read()
        await process.wait()
        self._processes.discard(process)


# What a wrapped command does: say that it runs, and end when its stdin does.
HOLD = ("sh", "-c", "echo held; read line")

_numbers = itertools.count()


def fresh(what: str) -> str:
    """An election's name that was not used before."""
    return f"{what}-{uuid.uuid4().hex[:6]}-{next(_numbers)}"
