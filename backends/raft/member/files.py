"""How many files the process may have open. Each connection is one, and so is what the log needs to go on."""

from __future__ import annotations

import contextlib
import resource

from leasekit.backends.raft.transport import MAX_CLIENTS

WANTED = 4096
"""For all connections that a member ever takes, with room to spare. Every system allows so many."""
_SPARED = 200
"""For the log and its snapshots, the other members, and connections that have not said yet who they are."""
_LEAST = 16


def raise_limit() -> None:
    """Take as many as a member may need, up to what the system grants. Usual limits are below, as programs rely on that
    (`select`); so this is for a process that is a member and nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def clients_max() -> int:
    """How many clients may be connected, so that there is always a file left for the log: a member that cannot begin its
    log's next segment takes no further part."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS
    return min(MAX_CLIENTS, max(_LEAST, soft - _SPARED))
