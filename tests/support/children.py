"""Which child processes a test leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from multiprocessing import resource_tracker
from pathlib import Path

from support.processes import running_pids


def left_behind(known: Collection[int], patience_s: float = 0) -> dict[int, str]:
    """Children of this process that are neither `known` nor servers of ours, with their command lines.

    Gives them `patience_s` to end by themselves; with patience, those that did not are killed.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        found = {pid: _describe(pid) for pid in _children() - set(known) - running_pids() - _helpers()}
        if not found or time.monotonic() >= give_up_s:
            break
        time.sleep(0.02)
    if patience_s:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile, and somebody waited for it
                os.kill(pid, signal.SIGKILL)
    return found


def _children() -> set[int]:
    # Linux lists them by the thread that made them; elsewhere there is no such list and the check is not made.
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            found.update(int(pid) for pid in file.read_text().split())
    return found


def _helpers() -> set[int]:
    # `multiprocessing` starts this one for the life of the process.
    pid = getattr(resource_tracker._resource_tracker, "_pid", None)
    return set() if pid is None else {pid}


def _describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"{pid} ({command or 'ended, not waited for'})"


def pids_with(mark: str) -> list[int]:
    """Processes, zombies not counted, with that word on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
