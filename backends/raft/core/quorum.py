"""Majority arithmetic: what a set of voters has agreed on."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping

from leasekit.backends.raft.core.types import MemberId

UNBOUNDED = 2**63 - 1
"""What no voter at all agrees on: everything."""


class Verdict(enum.Enum):
    """How a vote stands."""

    WON = "won"
    LOST = "lost"
    PENDING = "pending"


def majority(voters: int) -> int:
    """How many of `voters` are a majority."""
    return voters // 2 + 1


def agreed(values: Collection[int]) -> int:
    """The highest value that a majority has reached, given what each voter has reached."""
    if not values:
        return UNBOUNDED
    return sorted(values, reverse=True)[majority(len(values)) - 1]


def verdict(voters: Collection[MemberId], votes: Mapping[MemberId, bool]) -> Verdict:
    """How the vote stands, from the answers so far. Answers of others than the voters do not count."""
    cast = [votes[voter] for voter in voters if voter in votes]
    needed = majority(len(voters))
    if not voters or sum(cast) >= needed:
        return Verdict.WON
    if len(voters) - (len(cast) - sum(cast)) < needed:
        return Verdict.LOST
    return Verdict.PENDING
