"""The record of past leaderships, written by the leader alone: beginning late and off the critical path, end at release.

It is for people. A leader that dies within `WRITE_AFTER_S` of its election leaves no line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from leasekit.clock import Clock
from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.records import Keys, PastLeadership
from leasekit.errors import LeasekitError, LossReason, ProtocolError
from leasekit.store import At, Put, Store
from leasekit.tenure import Tenure

WRITE_AFTER_S = 0.02
"""A leadership shorter than this writes its line once, as it ends."""
TIMEOUT_S = 5.0


class History:
    """The history of one election, as its present leader keeps it."""

    def __init__(self, keys: Keys, store: Store, clock: Clock) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock
        self._past: tuple[PastLeadership, ...] | None = None

    async def record(self, tenure: Tenure, elected: e.Elected, *, over_hold: bool) -> None:
        """Write that this leadership has begun; and how the one before it ended, if it could not say so itself."""
        before = LossReason.REVOKED if over_hold else LossReason.EXPIRED
        value = elected.history
        self._past = None
        try:
            if elected.adopted:
                entry = await self._store.get(self._keys.history, timeout_s=TIMEOUT_S)
                value = entry.value if entry else None
            self._begin(tenure, _load(value), before)
            await asyncio.sleep(WRITE_AFTER_S)
            if tenure.loss is None and self._past is not None:
                put = Put(self._keys.history, records.dump_history(self._past))
                await self._store.transact((At(self._keys.leader, tenure.revision),), (put,), timeout_s=TIMEOUT_S)
        except LeasekitError:
            # Nothing depends on it; the end of the leadership writes the line again.
            return

    def _begin(self, tenure: Tenure, past: Sequence[PastLeadership], before: LossReason) -> None:
        wall_s = self._clock.wall_s()
        closed = records.ended(past, reason=before.value, wall_s=wall_s)
        present = PastLeadership(tenure.token, tenure.id, records.utc(wall_s), None, None)
        self._past = (*closed[-records.HISTORY_LENGTH :], present)

    def closed(self, reason: LossReason) -> bytes | None:
        """The record as it is to be put with the release; None if it has not been read."""
        past, self._past = self._past, None
        if past is None:
            return None
        return records.dump_history(records.ended(past, reason=reason.value, wall_s=self._clock.wall_s()))


def _load(value: bytes | None) -> tuple[PastLeadership, ...]:
    """An unreadable history begins anew: it must not stop an election."""
    if value is None:
        return ()
    try:
        return records.load_history(value)
    except ProtocolError:
        return ()
