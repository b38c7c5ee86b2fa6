"""Jobs for `stop="process"`, which the spawned process must find by module and name."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import leasekit

STORE = "memory://spawned-jobs"
TTL_S = 15.0
"""Long enough for a busy machine to start a process in."""
RENEWED_TTL_S = 9.0
"""Renewed every third of it."""


class Unsendable:
    def __reduce__(self) -> NoReturn:
        raise TypeError("not to be pickled")


@leasekit.singleton("whoami", store=STORE, ttl_s=TTL_S, stop="process")
def whoami(greeting: str) -> tuple[str, int, int, bool]:
    leadership = leasekit.current()
    return greeting, leadership.token, os.getpid(), leadership.valid


@leasekit.singleton("renewed", store=STORE, ttl_s=RENEWED_TTL_S, stop="process")
def hears_of_a_renewal() -> bool:
    leadership = leasekit.current()
    first = leadership.tenure.deadline
    while leadership.tenure.deadline == first:
        time.sleep(0.01)
    return leadership.valid


@leasekit.singleton("fails", store=STORE, ttl_s=TTL_S, stop="process")
def fails() -> None:
    raise LookupError("as it should")


@leasekit.singleton("vanishes", store=STORE, ttl_s=TTL_S, stop="process")
def vanishes() -> None:
    os._exit(7)


@leasekit.singleton("unsendable", store=STORE, ttl_s=TTL_S, stop="process")
def returns_what_cannot_be_sent() -> Unsendable:
    return Unsendable()


@leasekit.singleton("stubborn", store=STORE, ttl_s=TTL_S, stop="process", grace_s=0.3)
def stubborn(pids: str) -> None:
    """Swallows every exception, and has a child that does not know of TERM."""
    child = subprocess.Popen([sys.executable, "-c", "import signal,time; signal.signal(15, 1); time.sleep(60)"])
    Path(pids).write_text(f"{os.getpid()} {child.pid}")
    while True:
        with contextlib.suppress(BaseException):
            threading.Event().wait(60)


@leasekit.singleton("cleans", store=STORE, ttl_s=TTL_S, stop="process")
def cleans_up(started: str, cleaned: str) -> None:
    Path(started).touch()
    try:
        time.sleep(60)
    finally:
        Path(cleaned).touch()
