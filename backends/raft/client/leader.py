"""Which member leads: the connection to it, found when it is needed and found again when it is lost.

Members are asked one after the other, each given a moment before the next is asked as well, so that one which is down
holds nothing up. What any of them says of the leader is followed at once. Who they are is learnt from them, so that the
cluster may move away from the addresses in the URL while this runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from random import Random

from leasekit.backends.raft.client.channel import Channel, Lost
from leasekit.backends.raft.core.types import Role
from leasekit.backends.raft.requests import MemberStatus
from leasekit.backends.raft.transport.backoff import Backoff
from leasekit.backends.raft.transport.outgoing import NoConnection, dial
from leasekit.errors import ProtocolError

_LOOK_S = 1.0
"""How long one member may take to be connected to and to say who it is."""
_HEAD_START_S = 0.05
"""How long a member is waited for before the next is asked too."""
_GROWTH = 1.3
"""Rounds without a leader come at intervals that stay a fraction of how long it has been missing."""


class Closed(Exception):
    """The store was closed, here."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one member said of itself."""

    channel: Channel
    status: MemberStatus

    @property
    def leads(self) -> bool:
        """Whether requests go there."""
        return self.status.raft.role is Role.LEADER and self.status.failure is None

    @property
    def leader_address(self) -> str | None:
        """Where it believes the leader to be."""
        raft = self.status.raft
        return None if raft.leader is None else raft.membership.address(raft.leader)


class Leader:
    """Keeps at most one connection for use; those of a search are closed when it ends."""

    def __init__(self, addresses: tuple[str, ...], tls: ssl.SSLContext | None, random: Random) -> None:
        self.tls = tls
        self.random = random
        self.trouble: dict[str, str] = {}
        """What was last wrong with each address."""
        self.cluster = ""
        """The cluster's id, from the first Welcome on: another cluster is not fallen for."""
        self._given = addresses
        self._learnt: tuple[str, ...] = ()
        self._hint: str | None = None
        self._current: Channel | None = None
        self._lines: dict[str, Channel] = {}
        self._search: asyncio.Task[None] | None = None
        self._wanted = 0
        self._closing = asyncio.Event()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that is known: what members say first, then what the URL says."""
        return tuple(dict.fromkeys((*self._learnt, *self._given)))

    async def channel(self) -> Channel:
        """The connection to the leader, as soon as there is one. Limit the time from outside. Raises Closed."""
        self._wanted += 1
        try:
            while True:
                if self._closing.is_set():
                    raise Closed
                current = self._current
                if current is not None and current.usable:
                    return current
                if self._search is None or self._search.done():
                    self._search = asyncio.get_running_loop().create_task(self._find())
                # Not awaited itself: others wait for the same search, and time that is up here is no end to it.
                await asyncio.wait([self._search])
                if not self._search.cancelled():
                    self._search.result()
        finally:
            self._wanted -= 1

    async def pause(self, wait_s: float) -> None:
        """Wait before another attempt; not for long once the store is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closing.wait()

    def not_leading(self, channel: Channel, hint: str | None) -> None:
        """That member leads no more; `hint`: who does, as it believes."""
        if hint is not None and hint != channel.address:
            self._hint = hint
        if channel is self._current:
            self._current = None
        channel.retire()

    async def look(self, address: str) -> Look:
        """Ask one member, on a connection that stays open. Raises NoConnection, Lost, ProtocolError."""
        channel = self._lines.get(address)
        if channel is None or not channel.usable:
            channel = await dial(address, lambda: Channel(address, self.cluster), self.tls, timeout_s=_LOOK_S)
            self._lines[address] = channel
        try:
            async with asyncio.timeout(_LOOK_S):
                status = await channel.status()
        except TimeoutError:
            channel.abort()
            raise Lost(f"{address} does not answer") from None
        self.cluster = self.cluster or channel.welcomed.result().cluster
        return Look(channel, status)

    def why(self) -> str:
        """Why there is no leader, for people."""
        if not self.trouble:
            return "no member of the cluster answers in time"
        return "no leader: " + "; ".join(f"{address} {text}" for address, text in self.trouble.items())

    async def aclose(self) -> None:
        """Let go of everything."""
        self._closing.set()
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        for channel in (*self._lines.values(), *([self._current] if self._current else [])):
            channel.abort()
        self._lines.clear()
        self._current = None
        # Aborted connections close in the loop's next turn.
        await asyncio.sleep(0)

    async def _find(self) -> None:
        """Search until there is a leader, or nobody wants one any more."""
        backoff = Backoff(self.random, growth=_GROWTH)
        while (found := await self._round()) is None:
            if not self._wanted:
                return
            await asyncio.sleep(backoff.next_s())
        self._current = found.channel
        del self._lines[found.channel.address]
        for channel in self._lines.values():
            channel.retire()
        self._lines.clear()
        self.trouble.clear()

    async def _round(self) -> Look | None:
        """Ask every member once, until one says that it leads."""
        first, self._hint = self._hint, None
        waiting = deque([*([first] if first else []), *self.addresses])
        asked: set[str] = set()
        looking: set[asyncio.Task[Look | None]] = set()
        try:
            while waiting or looking:
                if waiting:
                    address = waiting.popleft()
                    if address in asked:
                        continue
                    asked.add(address)
                    looking.add(asyncio.create_task(self._try(address)))
                done, looking = await asyncio.wait(
                    looking, timeout=_HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for look in filter(None, [task.result() for task in done]):
                    if look.leads:
                        return look
                    if (hint := look.leader_address) is not None:
                        waiting.appendleft(hint)
            return None
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)

    async def _try(self, address: str) -> Look | None:
        try:
            look = await self.look(address)
        except (NoConnection, Lost, ProtocolError) as error:
            self.trouble[address] = str(error).removeprefix(f"{address} ")
            return None
        membership = look.status.raft.membership
        if look.leads or not self._learnt:
            self._learnt = tuple(membership.voters.values())
        if not look.leads:
            self.trouble[address] = look.status.failure or "does not lead and waits for an election"
        return look
