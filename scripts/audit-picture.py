#!/usr/bin/env python3
"""Makes docs/audit-timeline.svg and the text beside it anew, from a real run in which a leader is paused.

Three processes on this machine, over one SQLite file, with a ttl of 3 s and a fenced database; the leader is stopped for
longer than its lease. Usage: scripts/audit-picture.py > report.txt
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CANDIDATE = REPOSITORY / "tests" / "support" / "journalled.py"
TTL_S = 3


class Process:
    """A candidate that writes to the fenced database when told to."""

    def __init__(self, folder: Path, id: str) -> None:
        arguments = [
            f"sqlite:///{folder}/leases.db",
            "reports",
            str(folder / "work.db"),
            "--id",
            id,
            "--ttl",
            str(TTL_S),
        ]
        self._process = subprocess.Popen(
            [sys.executable, str(CANDIDATE), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LEASEKIT_JOURNAL": str(folder / f"{id}.jsonl")},
        )
        self.expect("campaigns")

    def expect(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(word):
            raise SystemExit(f"{word!r} was expected, not {line!r}")

    def tell(self, order: str, answer: str | None = None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        if answer is not None:
            self.expect(answer)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


def play(folder: Path) -> None:
    first = Process(folder, "web-1")
    first.expect("elected")
    first.tell("write", "written")
    time.sleep(1.2)
    second = Process(folder, "web-2")
    time.sleep(0.8)
    third = Process(folder, "web-3")
    time.sleep(1.5)
    first.signal(signal.SIGSTOP)
    second.expect("elected")
    second.tell("write", "written")
    first.tell("write")
    time.sleep(TTL_S)
    first.signal(signal.SIGCONT)
    first.expect("refused")
    first.tell("resign", "over deadline")
    time.sleep(1.5)
    second.tell("resign", "over resigned")
    third.expect("elected")
    third.tell("write", "written")
    time.sleep(1.7)
    third.tell("resign", "over resigned")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        play(Path(name))
        journals = sorted(map(str, Path(name).glob("*.jsonl")))
        audit = [sys.executable, "-m", "leasekit", "audit", *journals]
        picture = subprocess.run([*audit, "-o", "svg"], check=True, capture_output=True).stdout
        (REPOSITORY / "docs" / "audit-timeline.svg").write_bytes(picture)
        subprocess.run([*audit, "--events"], check=True)


if __name__ == "__main__":
    main()
