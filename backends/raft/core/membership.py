"""Changing who is in the cluster, one member at a time (thesis section 4.1), and its form in the log."""

from __future__ import annotations

import json
from collections.abc import Collection

from leasekit.backends.raft.core.quorum import majority
from leasekit.backends.raft.core.types import MemberId, Membership


class NotNow(Exception):
    """What was asked for may not be done now. Nothing was done; the text says why."""


def encode(membership: Membership) -> bytes:
    """As the log has it."""
    plain = {"voters": dict(membership.voters), "learners": dict(membership.learners)}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def decode(data: bytes) -> Membership:
    """The reverse of `encode`."""
    plain = json.loads(data)
    return Membership(plain["voters"], plain["learners"])


def with_learner(membership: Membership, member: MemberId, address: str) -> Membership:
    """With `member` as a learner. The address of one that is there already may be changed, of a voter as well."""
    if member in membership.voters:
        return Membership({**membership.voters, member: address}, membership.learners)
    return Membership(membership.voters, {**membership.learners, member: address})


def with_promoted(membership: Membership, member: MemberId) -> Membership:
    """With the learner `member` as a voter."""
    if member not in membership.learners:
        raise NotNow(f"{member} is no learner")
    learners = {name: address for name, address in membership.learners.items() if name != member}
    return Membership({**membership.voters, member: membership.learners[member]}, learners)


def without(membership: Membership, member: MemberId) -> Membership:
    """Without `member`."""
    if member not in membership:
        raise NotNow(f"{member} is not in the cluster")
    voters = {name: address for name, address in membership.voters.items() if name != member}
    if not voters:
        raise NotNow("the last voter cannot be removed")
    learners = {name: address for name, address in membership.learners.items() if name != member}
    return Membership(voters, learners)


def ensure_available(membership: Membership, active: Collection[MemberId]) -> None:
    """Raise NotNow if with this membership too few of its voters would be there to go on."""
    there = sum(voter in active for voter in membership.voters)
    if there < majority(len(membership.voters)):
        raise NotNow(f"only {there} of the {len(membership.voters)} voters that there would be are heard from")
