"""A member as it runs: the `server` with a disk, a network and time. By `leasekit raft serve`, or inside a user's process.

    async with Member(MemberConfig(...)) as member:
        await member.ended()

`MemberThread` runs one in a thread of its own, for programs without asyncio.
"""

from __future__ import annotations

from leasekit.backends.raft.member.config import MemberConfig, Timing, TlsFiles
from leasekit.backends.raft.member.member import Member
from leasekit.backends.raft.member.thread import MemberThread

__all__ = ["Member", "MemberConfig", "MemberThread", "Timing", "TlsFiles"]
