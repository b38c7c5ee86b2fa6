"""A process that stops itself (Ctrl-Z on `leasekit run`) holds no transaction meanwhile: others go on writing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="job control as Linux has it")

_WRITES_AND_STOPS = """
import sys, threading, time
from pathlib import Path
from leasekit.backends.sqlite.database import Database
from leasekit.clock import SYSTEM_CLOCK, this_boot
from leasekit.suspending import suspend

database = Database(Path(sys.argv[1]), SYSTEM_CLOCK, this_boot())

def write():
    while True:
        with database.lock:
            database.write(lambda tables, now_s: time.sleep(0.01))

threading.Thread(target=write, daemon=True).start()
while True:
    time.sleep(0.05)
    suspend()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _WRITES_AND_STOPS, str(tmp_path / "leases.db")]) as process:
        yield process
        process.kill()


def test_a_suspended_process_keeps_nobody_from_writing(writer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for _ in range(5):
        _, status = os.waitpid(writer.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with sqlite3.connect(tmp_path / "leases.db", timeout=0) as other:
            other.execute("BEGIN IMMEDIATE")
        other.close()
        writer.send_signal(signal.SIGCONT)
