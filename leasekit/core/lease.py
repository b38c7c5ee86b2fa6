"""How long a lease may be trusted: the arithmetic of deadlines, and nothing else (DESIGN section 5).

A lease is trusted until `moment the grant or last counted renewal was sent + granted ttl - margin`. The store counts
from when it *received* that request, so it cannot have given the lease away before, given clocks whose rates differ
by less than the drift bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from leasekit.clock import Instant
from leasekit.errors import ConfigError, LossReason

DRIFT = 0.01
"""Bound on how much the rates of two machines' clocks differ: 1 %, some hundred times what quartz does."""
MARGIN_FLOOR_S = 0.05
"""Allowance for what does not grow with the ttl: clock resolution, a check's own time."""


def margin_s(ttl_s: float) -> float:
    """How much earlier than the store a holder stops trusting its lease, in seconds."""
    return ttl_s * DRIFT + MARGIN_FLOOR_S


def check_timing(*, ttl_s: float, grace_s: float = 0.0) -> None:
    """Refuse timings that cannot be safe, saying why (rule 8)."""
    if not ttl_s > 0 or ttl_s == float("inf"):
        raise ConfigError("ttl_s", f"is {ttl_s}; it must be a positive number of seconds")
    if grace_s < 0:
        raise ConfigError("grace_s", f"is {grace_s}; it cannot be negative")
    margin = margin_s(ttl_s)
    if margin >= ttl_s:
        raise ConfigError("ttl_s", f"is {ttl_s:g}; the safety margin of {margin:.2f} s leaves nothing of it. Raise it")
    # Renewals come every ttl/3, so two thirds are left just before one: a stop that begins earlier would come each time.
    if grace_s + margin >= ttl_s * 2 / 3:
        raise ConfigError(
            "grace_s",
            f"grace {grace_s:g} s + margin {margin:.2f} s reach two thirds of a lease of {ttl_s:g} s: the work would "
            f"be stopped before each renewal. Raise the ttl or lower the grace",
        )


@dataclass(frozen=True, slots=True)
class Belief:
    """What this process may believe of its lease. Immutable, so that any thread reads one consistent whole.

    `epoch` counts stretches of unbroken trust: it rises when a deadline passes, even if a later renewal shows that the
    store still knows the lease, for a leadership that is over stays over. `ended` says how the last epoch ended.
    """

    epoch: int
    lease_id: str | None = None
    ttl_s: float = 0.0
    deadline: Instant | None = None
    ended: LossReason | None = None

    def trusted(self, now: Instant) -> bool:
        """Whether the lease may be trusted now."""
        return self.deadline is not None and not now.reached(self.deadline)

    def remaining_s(self, now: Instant) -> float:
        """Seconds for which the lease may still be trusted; 0 if it may not."""
        return 0.0 if self.deadline is None else max(0.0, now.until(self.deadline))

    def too_short_to_claim(self, now: Instant) -> bool:
        """Whether a claim should renew first: a third of the ttl or less is left (ELECTION.md, rule 4)."""
        return self.remaining_s(now) <= self.ttl_s / 3

    def granted(self, lease_id: str, ttl_s: float, *, sent_at: Instant, now: Instant) -> Belief:
        """A new lease, asked for at `sent_at`."""
        held = Belief(self.epoch + 1, lease_id, ttl_s, sent_at.plus(ttl_s - margin_s(ttl_s)), self.ended)
        return held.checked(now)

    def renewed(self, ttl_s: float, *, sent_at: Instant, now: Instant) -> Belief:
        """A renewal that the store confirmed. Comes too late for the old epoch if its deadline has passed meanwhile."""
        current = self.checked(now)
        return replace(current, ttl_s=ttl_s, deadline=sent_at.plus(ttl_s - margin_s(ttl_s))).checked(now)

    def checked(self, now: Instant) -> Belief:
        """The belief at `now`: a deadline that has passed ends the epoch. The lease may yet be renewed."""
        if self.deadline is None or not now.reached(self.deadline):
            return self
        return replace(self, epoch=self.epoch + 1, deadline=None, ended=LossReason.DEADLINE)

    def lost(self, reason: LossReason) -> Belief:
        """The lease is gone for good."""
        return Belief(self.epoch + 1, ended=reason)
