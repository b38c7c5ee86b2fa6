"""When leases run out, as the leader of a term judges it. The end itself goes through the log.

Safe with any clock: an end that is proposed names the renewal that the leader saw, and applying compares it; and a
leader counts a lease's time from when it applied the renewal, which is later than when its holder asked. Both clocks
must say that the time is over, as a holder stops believing when either does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from leasekit.backends.raft.kv.leases import LeaseState
from leasekit.clock import Instant

ASK_AGAIN_S = 1.0
"""After this long without an effect the end is proposed anew: the proposal may have been refused."""


class LeaseTimes:
    """The leases' ends in one term of one leader. A new leader counts every lease's full time anew."""

    def __init__(self, leases: Iterable[LeaseState], now: Instant) -> None:
        self._living: dict[str, LeaseState] = {}
        self._ends: list[tuple[float, float, str, int]] = []
        for lease in leases:
            self.begin(lease, now)

    def begin(self, lease: LeaseState, now: Instant) -> None:
        """The lease was granted or renewed: it has its whole time before it."""
        self._living[lease.id] = lease
        self._push(lease, now.plus(lease.ttl_ms / 1000))

    def end(self, lease_id: str) -> None:
        """The lease is gone."""
        self._living.pop(lease_id, None)

    def take_due(self, now: Instant) -> list[LeaseState]:
        """The leases whose time is over; not told again before `ASK_AGAIN_S`."""
        due = []
        while self._ends and self._ends[0][0] <= now.boot_s:
            _, raw_s, lease_id, renewal = heapq.heappop(self._ends)
            lease = self._living.get(lease_id)
            if lease is None or lease.renewal != renewal:
                continue
            if raw_s > now.raw_s:
                self._push(lease, now.plus(raw_s - now.raw_s))
                continue
            due.append(lease)
            self._push(lease, now.plus(ASK_AGAIN_S))
        return due

    def _push(self, lease: LeaseState, at: Instant) -> None:
        heapq.heappush(self._ends, (at.boot_s, at.raw_s, lease.id, lease.renewal))
