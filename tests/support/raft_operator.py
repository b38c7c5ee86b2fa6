"""What an operator does to a cluster of leasekit's own store: `leasekit raft ...`, as a process."""

from __future__ import annotations

import subprocess
import sys

from support.raft_cluster import RaftCluster

_TIMEOUT_S = 20


def operate(cluster: RaftCluster, *command: str) -> str:
    """Run `leasekit raft COMMAND`; what it says. Raises AssertionError if it fails."""
    store = [sys.executable, "-P", "-m", "leasekit", "--store", cluster.url("operator"), "--timeout", str(_TIMEOUT_S)]
    done = subprocess.run(
        [*store, "raft", *command], capture_output=True, text=True, timeout=3 * _TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"raft {' '.join(command)}: {done}"
    return done.stderr + done.stdout
