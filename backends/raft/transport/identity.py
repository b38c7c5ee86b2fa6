"""Who a member is to others, and how it answers a Hello. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leasekit.backends.raft.core.types import MemberId, Membership
from leasekit.backends.raft.transport.security import Security, may_be
from leasekit.backends.raft.wire import MAX_REASON, Codec, Hello, Purpose, Rejected, Welcome


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of a cluster. The cluster's id keeps members apart that were aimed at each other by mistake."""

    member: MemberId
    cluster: str


class Unwelcome(Exception):
    """No connection with this one. `kind` is one of a few, for `Complaints`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind

    @property
    def rejected(self) -> Rejected:
        """What it is told."""
        return Rejected(str(self)[:MAX_REASON])


def welcome(
    hello: Hello,
    certificate: Mapping[str, Any] | None,
    me: Identity,
    codec: Codec,
    membership: Membership,
    security: Security | None,
) -> Welcome:
    """The answer to a Hello. Raises Unwelcome."""
    version = codec.agree(hello.oldest, hello.newest)
    if version is None:
        spoken = f"{codec.oldest} to {codec.newest} here, {hello.oldest} to {hello.newest} there"
        raise Unwelcome("version", f"no version of the messages is spoken on both sides ({spoken})")
    if hello.cluster != me.cluster and (hello.cluster or hello.purpose is Purpose.MEMBER):
        raise Unwelcome("cluster", f"belongs to cluster {hello.cluster!r}, this is {me.cluster!r}")
    if hello.purpose is Purpose.MEMBER:
        if hello.member == me.member:
            raise Unwelcome("id", f"says to be {hello.member!r}, which is this member: ids are unique in a cluster")
        names = security.peer_names if security is not None else ()
        if security is not None and not may_be(certificate or {}, hello.member, membership, names):
            raise Unwelcome("certificate", f"its certificate is not good for member {hello.member!r}")
    return Welcome(version=version, member=me.member, cluster=me.cluster)
