"""leasekit: one leader among many processes, over a store that you already run.

The store grants a leadership to one holder at a time, and leasekit tells its holder that it leads only while the store
cannot yet have granted it to another. A paused process can still act late: let what it writes to refuse stale fencing
tokens (`leasekit.fencing`). `leasekit.aio` has the same names, awaitable.

Names load on first use, so that importing the package costs a command line next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from leasekit import aio as aio
    from leasekit import fencing as fencing
    from leasekit.core.records import PastLeadership as PastLeadership
    from leasekit.election import Candidate as Candidate
    from leasekit.election import Leader as Leader
    from leasekit.errors import AuthError as AuthError
    from leasekit.errors import ConfigError as ConfigError
    from leasekit.errors import FencingRejected as FencingRejected
    from leasekit.errors import LeadershipLost as LeadershipLost
    from leasekit.errors import LeasekitError as LeasekitError
    from leasekit.errors import LeaseLost as LeaseLost
    from leasekit.errors import LossReason as LossReason
    from leasekit.errors import NotElected as NotElected
    from leasekit.errors import OutcomeUnknown as OutcomeUnknown
    from leasekit.errors import ProtocolError as ProtocolError
    from leasekit.errors import SlotTooEarly as SlotTooEarly
    from leasekit.errors import StoreUnavailable as StoreUnavailable
    from leasekit.jobs import singleton as singleton
    from leasekit.schedule.current import current_run as current_run
    from leasekit.schedule.jobs import cron as cron
    from leasekit.schedule.jobs import serve as serve
    from leasekit.schedule.records import Outcome as Outcome
    from leasekit.schedule.slots import Run as Run
    from leasekit.schedule.slots import Slots as Slots
    from leasekit.sync import ConnectedStore as ConnectedStore
    from leasekit.sync import Election as Election
    from leasekit.sync import Leadership as Leadership
    from leasekit.sync import connect as connect
    from leasekit.sync import current as current

_HOMES = {
    "leasekit.core.records": ("PastLeadership",),
    "leasekit.election": ("Candidate", "Leader"),
    "leasekit.errors": (
        "AuthError",
        "ConfigError",
        "FencingRejected",
        "LeadershipLost",
        "LeaseLost",
        "LeasekitError",
        "LossReason",
        "NotElected",
        "OutcomeUnknown",
        "ProtocolError",
        "SlotTooEarly",
        "StoreUnavailable",
    ),
    "leasekit.jobs": ("singleton",),
    "leasekit.schedule.current": ("current_run",),
    "leasekit.schedule.jobs": ("cron", "serve"),
    "leasekit.schedule.records": ("Outcome",),
    "leasekit.schedule.slots": ("Run", "Slots"),
    "leasekit.sync": ("ConnectedStore", "Election", "Leadership", "connect", "current"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*sorted(_HOME_OF), "aio", "fencing"]  # noqa: PLE0604


if not TYPE_CHECKING:  # to a type checker it would say that every name exists

    def __getattr__(name: str) -> Any:
        import importlib

        if name in ("aio", "fencing"):
            return importlib.import_module(f"leasekit.{name}")
        if name in _HOME_OF:
            return getattr(importlib.import_module(_HOME_OF[name]), name)
        raise AttributeError(f"module 'leasekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
