"""`leasekit raft serve` with something odd about it, for tests.

Usage: raft_member.py [--newer] [--wrong NAME] [--faults FILE] raft serve ...

--newer: it speaks a version of the messages that does not exist yet, beside the one that does.
--wrong: it has one of the faults of `support.raft_wrong`.
--faults: while FILE exists its disk fails: with "EIO" in it every sync fails, with "slow" every sync takes as long as
FILE is there. Below everything of leasekit's, so that the real disk and all above it are under test.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from pathlib import Path

_LOOK_AGAIN_S = 0.01


def make_failing(faults: Path) -> None:
    """Put failing syncs in the place of the system's."""
    fdatasync, fsync = os.fdatasync, os.fsync

    def fail(descriptor: int) -> None:
        while (fault := _fault(faults)) == "slow":
            time.sleep(_LOOK_AGAIN_S)
        if fault:
            raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))

    def failing_fdatasync(descriptor: int) -> None:
        fail(descriptor)
        fdatasync(descriptor)

    def failing_fsync(descriptor: int) -> None:
        fail(descriptor)
        fsync(descriptor)

    os.fdatasync, os.fsync = failing_fdatasync, failing_fsync  # type: ignore[assignment]


def _fault(faults: Path) -> str:
    try:
        return faults.read_text()
    except FileNotFoundError:
        return ""


def make_newer() -> None:
    """Before anything imports the codec by name."""
    from leasekit.backends.raft import wire
    from support.raft_versions import NEWER_CODEC

    wire.CODEC = NEWER_CODEC


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--newer", action="store_true")
    parser.add_argument("--wrong")
    parser.add_argument("--faults", type=Path)
    own, command = parser.parse_known_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if own.newer:
        make_newer()
    if own.wrong:
        from support.raft_wrong import FAULTS

        FAULTS[own.wrong]()
    if own.faults:
        make_failing(own.faults)
    from leasekit.cli.main import main as leasekit

    sys.argv[1:] = command
    leasekit()


if __name__ == "__main__":
    main()
