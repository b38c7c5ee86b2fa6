"""Which renewals count (DESIGN section 5, rule 7). Pure.

etcd answers a keepalive without a quorum, from the memory of whichever server thinks that it leads. So the answer is
believed only after a linearizable read, through the same endpoint, of a *witness*: a key on the lease, still at the
revision at which this process put it, in the same Raft term as the keepalive.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from leasekit.store import Get, Op, Put


class Verdict(enum.Enum):
    """What the confirming read says of a keepalive's answer."""

    COUNTS = "counts"
    OTHER_TERM = "other term"
    """Raft's leadership changed in between: the answer may be a deposed leader's. Renew again."""
    WITNESS_GONE = "witness gone"
    """The key is gone or was written again: no witness of this lease any more. Renew again with another."""


def judge(*, keepalive_term: int, read_term: int, put_at: int | None, found_at: int | None) -> Verdict:
    """Whether a renewal counts. `put_at` is the witness's revision (None: there is no witness), `found_at` what was read."""
    if read_term != keepalive_term:
        return Verdict.OTHER_TERM
    if put_at is not None and found_at != put_at:
        return Verdict.WITNESS_GONE
    return Verdict.COUNTS


class Witnesses:
    """The keys that this process itself has put on leases, and at which revision."""

    def __init__(self) -> None:
        self._on_lease: dict[str, dict[str, int]] = {}
        self._lease_of: dict[str, str] = {}

    def of(self, lease_id: str) -> tuple[str, int] | None:
        """A key on the lease and its revision, None if none is known."""
        return next(iter(self._on_lease.get(lease_id, {}).items()), None)

    def applied(self, ops: Sequence[Op], revision: int) -> None:
        """A transaction of our own was applied at `revision`."""
        self.doubt(ops)
        for op in ops:
            if isinstance(op, Put) and op.lease_id is not None:
                self._lease_of[op.key] = op.lease_id
                self._on_lease.setdefault(op.lease_id, {})[op.key] = revision

    def doubt(self, ops: Sequence[Op]) -> None:
        """A transaction of our own may have been applied: what it wrote bears witness no more."""
        for op in ops:
            if not isinstance(op, Get):
                self.drop(op.key)

    def drop(self, key: str) -> None:
        """The key was deleted, or found changed."""
        lease_id = self._lease_of.pop(key, None)
        if lease_id is None:
            return
        keys = self._on_lease[lease_id]
        del keys[key]
        if not keys:
            del self._on_lease[lease_id]

    def drop_lease(self, lease_id: str) -> None:
        """The lease is over."""
        for key in self._on_lease.pop(lease_id, {}):
            del self._lease_of[key]
