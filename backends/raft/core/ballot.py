"""The votes that a candidate has been given."""

from __future__ import annotations

from collections.abc import Collection

from leasekit.backends.raft.core.quorum import Verdict, verdict
from leasekit.backends.raft.core.types import MemberId


class Ballot:
    """One question to all voters. `trial`: whether it is only asked if a campaign would be won (pre-vote)."""

    def __init__(self, *, trial: bool) -> None:
        self.trial = trial
        self._votes: dict[MemberId, bool] = {}

    def cast(self, voter: MemberId, *, granted: bool) -> None:
        """Note the answer of `voter`. The first one stands, however often it comes."""
        self._votes.setdefault(voter, granted)

    def verdict(self, voters: Collection[MemberId]) -> Verdict:
        """How it stands."""
        return verdict(voters, self._votes)
