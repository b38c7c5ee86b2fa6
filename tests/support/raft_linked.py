"""Members of leasekit's own store that reach each other through links, each way by itself, that can be cut."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from leasekit.backends.raft.wire.handshake import Purpose
from support.certificates import TLS
from support.proxy import Proxy
from support.raft_cluster import RaftCluster


class LinkedCluster(RaftCluster):
    """Before each member stands a proxy, whose address is the member's in the membership.

    What a member says goes over connections that it has made itself, so to cut those that it made to another cuts one
    direction alone. Clients come through the same proxies, and are never cut off.
    """

    def __init__(
        self, size: int = 3, *, tls: TLS | None = None, election_timeout_ms: int = 250, heartbeat_ms: int = 50
    ) -> None:
        super().__init__(size, tls=tls, election_timeout_ms=election_timeout_ms, heartbeat_ms=heartbeat_ms)
        self._links: list[Proxy] = []

    def start_all(self) -> None:
        while len(self._links) < self.size:
            self._links.append(Proxy(self.endpoints[len(self._links)]).__enter__())
        super().start_all()

    def close(self) -> None:
        super().close()
        while self._links:
            self._links.pop().__exit__()

    @property
    def links(self) -> list[str]:
        """The members' addresses in the membership."""
        return [link.address for link in self._links]

    def cut_one_way(self, speaker: int, hearer: int) -> None:
        """What `speaker` says to `hearer` arrives no more, until it is healed; the other way is as before."""
        # How the Hello of a member, and of nobody else, begins.
        name = self.member(speaker).encode()
        hello = Purpose.MEMBER.value.encode() + bytes([0xA0 | len(name)]) + name
        self._links[hearer].cut(hello)

    def part(self, *groups: Iterable[int]) -> None:
        """No member hears one that is in another of these groups. Who is in none hears all, and is heard by all."""
        parts = [list(group) for group in groups]
        for group in parts:
            for speaker in group:
                for hearer in (index for other in parts if other is not group for index in other):
                    self.cut_one_way(speaker, hearer)

    def isolate(self, index: int) -> None:
        """Member `index` hears no other, and is heard by none."""
        self.part([index], [other for other in range(self.size) if other != index])

    def lose_answers(self, index: int) -> None:
        """Clients ask member `index`, and what it answers is lost; so is what it says to strangers. Healed as a cut is."""
        self._links[index].drop_replies()

    def reunite(self) -> None:
        """Heal all cuts."""
        for link in self._links:
            link.heal()

    def _command(self, index: int) -> list[str | Path]:
        initial = ",".join(f"{self.member(i)}={link.address}" for i, link in enumerate(self._links))
        return [*self.serving(index), "--initial", initial]
