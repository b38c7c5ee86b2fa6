"""What an operator does to a cluster of leasekit's own store: `leasekit raft ...`, as a process."""

from __future__ import annotations

import subprocess
import sys

from leasekit.cli import exit_codes
from support.raft_cluster import RaftCluster

_TIMEOUT_S = 20
_ATTEMPTS = 3


def operate(cluster: RaftCluster, *command: str) -> str:
    """Run `leasekit raft COMMAND`, again if the leadership changed meanwhile; what it says. Raises AssertionError."""
    store = ["--store", cluster.url("operator"), "--timeout", str(_TIMEOUT_S)]
    for attempt in range(_ATTEMPTS):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "leasekit", *store, "raft", *command],
            capture_output=True,
            text=True,
            timeout=3 * _TIMEOUT_S,
            check=False,
        )
        said = done.stderr + done.stdout
        removed_before = attempt > 0 and command[0] == "remove" and "is no member of this cluster" in said
        if done.returncode == 0 or removed_before:
            return said
        assert done.returncode == exit_codes.UNAVAILABLE, f"raft {' '.join(command)}: {said}"
    raise AssertionError(f"raft {' '.join(command)}, {_ATTEMPTS} times: {said}")
