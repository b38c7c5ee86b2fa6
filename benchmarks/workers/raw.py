"""The two transactions of an uncontended acquire and release, as leasekit would send them, for the raw clients."""

from __future__ import annotations

import os
import uuid

from leasekit.clock import SYSTEM_CLOCK
from leasekit.core import events as e
from leasekit.core.contest import Contest, Phase, Setup
from leasekit.core.election import step
from leasekit.core.lease import Belief
from leasekit.core.records import Keys
from leasekit.store import Committed

TTL_S = 3600.0
"""Nobody renews it: longer than any run."""


class Pair:
    """What an election asks for, with this lease in hand."""

    def __init__(self, election: str, lease_id: str, *, compares_empty: bool) -> None:
        candidate = f"raw-{uuid.uuid4().hex[:8]}"
        setup = Setup(Keys(election), candidate, "host", os.getpid(), priority=0, compares_empty=compares_empty)
        now = SYSTEM_CLOCK.now()
        self._context = e.Context(now, SYSTEM_CLOCK.wall_s(), Belief(1, lease_id, TTL_S, now.plus(TTL_S)))
        idle = Contest(setup, lease_id=lease_id, ttl_s=TTL_S)
        self._claiming, (acquire,) = step(idle, e.Campaign(), self._context)
        assert self._claiming.phase is Phase.CLAIMING_AT_ONCE and isinstance(acquire, e.Transact)
        self.acquire = acquire

    def release(self, revision: int) -> e.Transact:
        """The resignation of what was acquired at `revision`."""
        won = e.Applied(self._claiming.number, Committed(revision))
        leading, _ = step(self._claiming, won, self._context)
        _, (resign,) = step(leading, e.Resign(), self._context)
        assert isinstance(resign, e.Transact)
        return resign
