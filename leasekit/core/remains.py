"""What an ended campaign or leadership may have left on a lease that lives on, and how it is removed for certain.

A shared lease lives as long as its process, so a key that nobody in the process owns would block an election for
ever (ELECTION.md, rules 11 and 12). Each candidacy that ended with keys perhaps still there is kept as `Remains`: read
its two keys, delete by compare those that are on the lease, look again if that was refused. While a write of the
candidacy may still be under way (`doubt_until`) a clean look settles nothing, and the look is repeated after each
renewal. What is not settled after 2 x ttl is settled by revoking the lease: then every late write fails.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from leasekit.clock import Instant
from leasekit.core.queue import Holder, holder_of
from leasekit.core.records import Keys
from leasekit.store import At, Compare, Delete, Entry, Get, Op


class Verdict(enum.Enum):
    """Where the removal stands."""

    SETTLED = enum.auto()
    """Nothing remains, and nothing can come."""
    LATER = enum.auto()
    """Look again after the next renewal."""
    NOW = enum.auto()
    """Send the next request at once."""
    REVOKE = enum.auto()
    """Too long unsettled: revoke the lease."""


@dataclass(frozen=True, slots=True)
class Remains:
    """The keys of one ended candidacy. `found` is what the last look wants deleted; None: look first.

    `led` is the highest revision of a `leader` record that is over: led at, or about to be deleted here. A candidacy
    that takes these keys over must not adopt it, since its deletion may still be under way (rule 6).
    """

    keys: Keys
    id: str
    lease_id: str
    give_up_at: Instant
    doubt_until: Instant | None = None
    found: tuple[tuple[str, int], ...] | None = None
    led: int = 0

    def request(self) -> tuple[tuple[Compare, ...], tuple[Op, ...]]:
        """The next transaction: a look, or the deletion of what the look found."""
        if self.found is None:
            return (), (Get(self.keys.leader), Get(self.keys.candidate(self.id)))
        return tuple(At(key, revision) for key, revision in self.found), tuple(Delete(key) for key, _ in self.found)

    def looked(self, reads: tuple[tuple[Entry, ...], ...], now: Instant) -> tuple[Remains, Verdict]:
        """A look's answer."""
        leader, candidate = (entries[0] if entries else None for entries in reads)
        found, led = [], self.led
        if leader is not None and holder_of(leader, lease_id=self.lease_id, id=self.id) is Holder.ME:
            found.append((leader.key, leader.revision))
            led = max(led, leader.revision)
        if candidate is not None and candidate.lease_id == self.lease_id:
            found.append((candidate.key, candidate.revision))
        if found:
            return replace(self, found=tuple(found), led=led), Verdict.NOW
        return self._clean(now)

    def deleted(self, now: Instant) -> tuple[Remains, Verdict]:
        """What the look found was deleted, all of it. A late write may have come between the two."""
        return replace(self, found=None)._clean(now)

    def refused(self) -> tuple[Remains, Verdict]:
        """What the look found had changed, for example by a transfer to this candidate: look again."""
        return replace(self, found=None), Verdict.NOW

    def unanswered(self, now: Instant) -> tuple[Remains, Verdict]:
        """No definite answer. Deletions compare revisions, so repeating one that was applied does no harm."""
        verdict = Verdict.REVOKE if now.reached(self.give_up_at) else Verdict.LATER
        return replace(self, found=None), verdict

    def _clean(self, now: Instant) -> tuple[Remains, Verdict]:
        """Nothing is known to remain. Only a look that begins after the doubt is over can settle it."""
        if self.doubt_until is None:
            return self, Verdict.SETTLED
        if now.reached(self.doubt_until):
            return replace(self, doubt_until=None), Verdict.NOW
        return self, Verdict.LATER
