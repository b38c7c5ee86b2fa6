"""What a member is told about time and sizes. Time is counted in ticks, whose length the shell chooses."""

from __future__ import annotations

from dataclasses import dataclass

from leasekit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The same on all members, preferably; safety does not depend on it."""

    election_ticks: int = 50
    """A follower campaigns after this many ticks, up to twice as many at random, without a word from a leader."""
    election_spread_ticks: int | None = None
    """How much is added at random, at most; None: as many again as `election_ticks`."""
    heartbeat_ticks: int = 5
    """A leader speaks up this often. At most a fifth of `election_ticks` is wise."""
    max_append_bytes: int = 1 << 20
    """Entries in one request; a single bigger entry goes alone."""
    max_inflight: int = 64
    """Requests on the way to one member before an answer has come."""
    max_uncommitted_bytes: int = 16 << 20
    """Proposals are refused while more than this waits for a majority, or for the leader's own disk."""
    max_apply_bytes: int = 1 << 20
    """Handed out by one `ready()`, so that applying never keeps the machine from its heartbeats for long."""
    snapshot_piece_bytes: int = 256 << 10
    max_snapshot_bytes: int = 1 << 30
    """A longer one is not received."""
    promotable_lag_entries: int = 64
    """A learner further behind than this is not made a voter yet."""
    pre_vote: bool = True
    """Ask before campaigning, so that a member that was cut off does not depose a leader (thesis section 9.6).

    Only with `check_quorum` do those who hear from a leader refuse."""
    check_quorum: bool = True
    """A leader that hears from no majority steps down, and who hears from a leader refuses to vote (section 6.2)."""

    def __post_init__(self) -> None:
        if self.heartbeat_ticks < 1 or self.election_ticks <= self.heartbeat_ticks:
            raise ConfigError("election_ticks", "must be more than heartbeat_ticks, which must be 1 at least")
        if self.spread_ticks < 0:
            raise ConfigError("election_spread_ticks", "must not be negative")
        for name in ("max_inflight", "snapshot_piece_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(name, "must be 1 at least")

    @property
    def spread_ticks(self) -> int:
        """How much is added to `election_ticks` at random, at most."""
        return self.election_ticks if self.election_spread_ticks is None else self.election_spread_ticks
