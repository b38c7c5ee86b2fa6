"""Faults that members of leasekit's own store must not have: a test that passes with one of them proves nothing."""

from __future__ import annotations

from collections.abc import Callable

from leasekit.backends.raft.core import leader
from leasekit.backends.raft.core.types import ReadReady
from leasekit.backends.raft.kv.commands import Proposal
from leasekit.backends.raft.kv.leases import LeaseState
from leasekit.backends.raft.kv.outcomes import Outcome
from leasekit.backends.raft.kv.sessions import Sessions
from leasekit.backends.raft.server.leases import LeaseTimes
from leasekit.clock import Instant


def _reads_without_asking_a_quorum() -> None:
    def read(self: leader.Leader, context: object) -> None:
        self._raft.read_ready(ReadReady(context, self._log.committed))

    leader.Leader.read = read  # type: ignore[method-assign]


def _ends_leases_early() -> None:
    push = LeaseTimes._push

    def early(self: LeaseTimes, lease: LeaseState, at: Instant) -> None:
        push(self, lease, at.plus(-0.6 * lease.ttl_ms / 1000))

    LeaseTimes._push = early  # type: ignore[method-assign]


def _forgets_what_it_did() -> None:
    def keep(self: Sessions, proposal: Proposal, outcome: Outcome) -> None:
        return

    Sessions.keep = keep  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "reads without asking a quorum": _reads_without_asking_a_quorum,
    "ends leases early": _ends_leases_early,
    "forgets what it did": _forgets_what_it_did,
}
