"""Stopping a process by SIGSTOP at a moment when nobody else has to wait for it.

Stopped in the middle of a SQLite transaction it would keep everybody from writing until it goes on: that is so, and the
README says it. Tests of anything else are not to meet it by chance.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

_TRIES = 50
_OTHERS_WRITE_WITHIN_S = 0.3
_STANDS_WITHIN_S = 20.0


def pause(pid: int, store_url: str | None) -> None:
    """Stop process `pid`, which uses this store."""
    for _ in range(_TRIES):
        os.kill(pid, signal.SIGSTOP)
        _wait_until_it_stands(pid)
        if store_url is None or not store_url.startswith("sqlite://") or _can_be_written(store_url):
            return
        os.kill(pid, signal.SIGCONT)
        # To the end of its transaction at least: stopped again at once, it would not have moved.
        give_up_at = time.monotonic() + _STANDS_WITHIN_S
        while not _can_be_written(store_url):
            assert time.monotonic() < give_up_at, f"process {pid} never ends its transaction"
    raise AssertionError(f"{store_url} can never be written")


def _wait_until_it_stands(pid: int) -> None:
    """One thread hears of the signal and stops the others: on a busy machine they run on until it is given a core."""
    give_up_at = time.monotonic() + _STANDS_WITHIN_S
    while not all(_stands(task) for task in Path(f"/proc/{pid}/task").glob("*/stat")):
        assert time.monotonic() < give_up_at, f"process {pid} runs on"
        time.sleep(0.001)


def _stands(task: Path) -> bool:
    try:
        return task.read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except (FileNotFoundError, ProcessLookupError):  # a thread that ended before it heard of the signal
        return True


def _can_be_written(store_url: str) -> bool:
    path = store_url.removeprefix("sqlite://").partition("?")[0]
    with closing(sqlite3.connect(path, timeout=_OTHERS_WRITE_WITHIN_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True
