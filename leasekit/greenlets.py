"""Monkey patching by gevent or eventlet, which can make greenlets of all threads, ours among them.

Much works all the same. What would hang is refused instead.
"""

from __future__ import annotations

import sys

from leasekit.errors import ConfigError


def threads_are_greenlets() -> bool:
    """Whether `threading.Thread` starts a greenlet."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )


def check() -> None:
    """Raise ConfigError where gevent serves waits, but not threads: a loop in a thread would wait for ever."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("selectors") and not gevent.is_module_patched("threading"):
        raise ConfigError(
            "gevent", "has patched everything but threads, and a thread cannot wait any more: patch threads as well"
        )
