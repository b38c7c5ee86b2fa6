"""How a process under measurement is spoken to: a command a line on stdin, an event a line (JSON) on stdout.

    pairs N        acquire and release N times; tells how long each pair took, and the processor time of one
    add N          N more candidates queue, each of which holds what it acquires until told
    release        whichever candidate holds lets go
    elections N    acquire N different ones, and keep them all; tells memory and threads

Times are read here, where they happen, in seconds on CLOCK_MONOTONIC, which all processes of a machine share.
Only the standard library is used: this runs in the peers' environments too.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol


class Candidate(Protocol):
    """One candidate of a blocking library."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


class AsyncCandidate(Protocol):
    """One candidate of an asyncio library."""

    def acquire(self) -> Awaitable[object]: ...
    def release(self) -> Awaitable[object]: ...


def arguments() -> tuple[str, int, str]:
    """What the process was started with: where the store is, and the election's name."""
    host, _, port = sys.argv[1].rpartition(":")
    return host, int(port), sys.argv[2]


def say(**event: object) -> None:
    """Tell the driver."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def footprint() -> dict[str, float]:
    """Resident memory in MiB, and the number of threads, of this process (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss_mib": int(status["VmRSS"].split()[0]) / 1024, "threads": int(status["Threads"])}


def serve(candidate: Callable[[str], Candidate], election: str) -> None:
    """Obey until stdin ends. `candidate(election)` makes a new one."""
    releases: queue.SimpleQueue[None] = queue.SimpleQueue()

    def hold() -> None:
        one = candidate(election)
        one.acquire()
        say(held=time.monotonic())
        releases.get()
        began_s = time.monotonic()
        one.release()
        say(released=began_s)

    def pairs(count: int) -> None:
        one = candidate(election)
        took_s = []
        cpu_s = time.process_time()
        for _ in range(count):
            began_s = time.monotonic()
            one.acquire()
            one.release()
            took_s.append(time.monotonic() - began_s)
        say(pairs=took_s, cpu_s=(time.process_time() - cpu_s) / count)

    held: list[Candidate] = []
    say(ready=True)
    for line in sys.stdin:
        command, _, count = line.strip().partition(" ")
        if command == "pairs":
            pairs(int(count))
        elif command == "add":
            for _ in range(int(count)):
                threading.Thread(target=hold, daemon=True).start()
        elif command == "release":
            releases.put(None)
        elif command == "elections":
            before = footprint()
            for number in range(int(count)):
                held.append(candidate(f"{election}-{number}"))
                held[-1].acquire()
            say(before=before, after=footprint())


async def aserve(candidate: Callable[[str], AsyncCandidate], election: str) -> None:
    """The same for asyncio."""
    releases: asyncio.Queue[None] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()

    async def hold() -> None:
        one = candidate(election)
        await one.acquire()
        say(held=time.monotonic())
        await releases.get()
        began_s = time.monotonic()
        await one.release()
        say(released=began_s)

    async def pairs(count: int) -> None:
        one = candidate(election)
        took_s = []
        cpu_s = time.process_time()
        for _ in range(count):
            began_s = time.monotonic()
            await one.acquire()
            await one.release()
            took_s.append(time.monotonic() - began_s)
        say(pairs=took_s, cpu_s=(time.process_time() - cpu_s) / count)

    async def elections(count: int) -> list[AsyncCandidate]:
        made = [candidate(f"{election}-{number}") for number in range(count)]
        await asyncio.gather(*(one.acquire() for one in made))
        return made

    held: list[AsyncCandidate] = []
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say(ready=True)
    while line := (await commands.readline()).decode():
        command, _, count = line.strip().partition(" ")
        if command == "pairs":
            await pairs(int(count))
        elif command == "add":
            for _ in range(int(count)):
                task = asyncio.create_task(hold())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        elif command == "release":
            releases.put_nowait(None)
        elif command == "elections":
            before = footprint()
            held += await elections(int(count))
            say(before=before, after=footprint())
