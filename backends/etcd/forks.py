"""gRPC cannot be used in a child forked after its parent used it: it hangs or aborts. Such a child is told so at once."""

from __future__ import annotations

import os

from leasekit.errors import ConfigError

_used = False
_inherited = False


def mark_used() -> None:
    """Remember that this process has used gRPC. Raises ConfigError if it must not."""
    global _used
    refuse_inherited()
    _used = True


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
