"""gRPC cannot be used in a child forked after its parent used it: it hangs or crashes. Such a child is told so at once."""

from __future__ import annotations

import os
import sys
from weakref import WeakSet

from leasekit.errors import ConfigError

# gRPC's own fork handlers do not help a process in which it runs threads, and print a line at each fork. What it logs
# of connections, on stderr and again at every attempt, leasekit's errors say.
_QUIET = {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}

_users: WeakSet[object] = WeakSet()
_used = False
_inherited = False
_kept: list[object] = []


def import_grpc() -> None:
    """Import gRPC, quietly unless the program imported it before or says in the environment what it wants.

    It reads these settings as it is imported; the processes that this one starts are not to inherit them.
    """
    settings = {} if "grpc" in sys.modules else {name: _QUIET[name] for name in _QUIET.keys() - os.environ.keys()}
    os.environ.update(settings)
    try:
        import grpc.aio  # noqa: F401
    finally:
        for name in settings:
            del os.environ[name]


def mark_used(by: object) -> None:
    """Remember that `by` uses gRPC in this process. Raises ConfigError if it must not."""
    global _used
    refuse_inherited()
    _used = True
    _users.add(by)


def inherited() -> bool:
    """Whether this process was forked from one that had used gRPC."""
    return _inherited


def refuse_inherited() -> None:
    """Raise ConfigError in a child whose parent had used gRPC before the fork."""
    if _inherited:
        raise ConfigError(
            "store URL",
            "this process was forked from one that was connected to etcd, and gRPC does not work in such a child: "
            "connect to etcd only after the fork, or start the process by spawn (multiprocessing's 'spawn' method)",
        )


def _after_fork_in_child() -> None:
    global _inherited
    _inherited = _inherited or _used
    # What the parent used must not be collected here: freeing a channel calls into gRPC.
    _kept.extend(_users)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
