"""A Raft cluster without Raft, for tests of its client: real sockets, the real state machine, and faults on demand.

All members apply to one state machine, and who leads is said by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from leasekit.backends.raft.core.types import Membership, Role, Status
from leasekit.backends.raft.kv.commands import Proposal, decode
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.backends.raft.requests import (
    AskStatus,
    AskTime,
    Done,
    Event,
    MemberStatus,
    NotLeader,
    Problem,
    Propose,
    Read,
    Refused,
    Request,
    Response,
    Unwatch,
    Watch,
)
from leasekit.backends.raft.transport import Client, Identity, Listener, Security
from leasekit.backends.raft.transport.connection import Connection
from leasekit.store import Changed

UNIX_S = 1_800_000_000.0


@dataclass
class _Watched:
    member: FakeMember
    client: Client
    request: Watch


class FakeMember:
    """One address of the cluster. What it is told to do wrong, it does until told otherwise."""

    def __init__(self, name: str, cluster: FakeCluster, security: Security | None) -> None:
        self.name = name
        self.listener = Listener(Identity(name, cluster.id), self, security=security)
        self.port = 0
        self.mute = False
        """It takes everything in and says nothing, as if frozen. (Unlike a frozen one, it also applies nothing.)"""
        self.hints = True
        """Whether it knows who leads."""
        self.fault: Callable[[Client, Request], bool] = lambda client, request: False
        """Asked first: True if it dealt with the request itself."""
        self.asked: list[Request] = []
        self._cluster = cluster

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self.listener.start("127.0.0.1", self.port)
        self.port = self.listener.port

    async def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        await self.listener.aclose()

    def on_message(self, message: object) -> None:
        raise AssertionError("clients send no messages")

    def on_request(self, client: Client, request: Request) -> None:
        self.asked.append(request)
        if not self.mute and not self.fault(client, request):
            self.serve(client, request)

    def on_disconnect(self, client: Client) -> None:
        self._cluster.watched = [each for each in self._cluster.watched if each.client is not client]

    def serve(self, client: Client, request: Request) -> None:
        """As it should be."""
        cluster = self._cluster
        if isinstance(request, AskStatus):
            client.send(Done(id=request.id, result=cluster.status(self)))
        elif isinstance(request, Unwatch):
            cluster.unwatch(client, request.watch)
        elif cluster.leader is not self:
            leader = cluster.leader.address if cluster.leader is not None and self.hints else None
            client.send(NotLeader(id=request.id, leader=leader))
        else:
            response = cluster.lead(self, client, request)
            if response is not None:
                client.send(response)

    # Faults.

    def apply_and_hang_up(self, count: int = 1) -> None:
        """Apply the next `count` changes, and break the connection instead of answering."""

        def fault(client: Client, request: Request) -> bool:
            nonlocal count
            if not isinstance(request, Propose) or count == 0:
                return False
            count -= 1
            self._cluster.apply(request)
            hang_up(client)
            return True

        self.fault = fault

    def apply_and_say(self, problem: Problem, count: int = 1) -> None:
        """Apply the next `count` changes, and refuse them nevertheless."""

        def fault(client: Client, request: Request) -> bool:
            nonlocal count
            if not isinstance(request, Propose) or count == 0:
                return False
            count -= 1
            self._cluster.apply(request)
            client.send(Refused(id=request.id, problem=problem, text="a fault on demand"))
            return True

        self.fault = fault

    def refuse(self, problem: Problem, *kinds: type[Request], count: int = 1_000_000) -> None:
        """Refuse requests of these kinds."""

        def fault(client: Client, request: Request) -> bool:
            nonlocal count
            if not isinstance(request, kinds) or count == 0:
                return False
            count -= 1
            client.send(Refused(id=request.id, problem=problem, text="a fault on demand"))
            return True

        self.fault = fault

    def swallow(self, *kinds: type[Request]) -> list[Request]:
        """Keep requests of these kinds without a word; returns where they gather."""
        kept: list[Request] = []

        def fault(client: Client, request: Request) -> bool:
            if isinstance(request, kinds):
                kept.append(request)
            return isinstance(request, kinds)

        self.fault = fault
        return kept


class FakeCluster:
    """Members that share one state machine."""

    def __init__(self, names: tuple[str, ...], security: Security | None, id: str) -> None:
        self.id = id
        self.machine = StateMachine()
        self.members = [FakeMember(name, self, security) for name in names]
        self.leader: FakeMember | None = self.members[0]
        self.term = 1
        self.proposals: list[Proposal] = []
        self.watched: list[_Watched] = []
        self.membership: Membership | None = None
        """What members say; None: all of them are voters."""

    def url(self, prefix: str = "p", *, members: list[FakeMember] | None = None) -> str:
        return f"raft://{','.join(member.address for member in members or self.members)}/{prefix}"

    def elect(self, leader: FakeMember | None) -> None:
        """Another one leads from now on. Its predecessor, if it is well, ends its watches."""
        before, self.leader = self.leader, leader
        self.term += 1
        ended = [each for each in self.watched if each.member is before]
        self.watched = [each for each in self.watched if each.member is not before]
        for each in ended:
            if not each.member.mute:
                hint = leader.address if leader is not None and each.member.hints else None
                each.client.send(NotLeader(id=each.request.id, leader=hint))

    def status(self, member: FakeMember) -> MemberStatus:
        leads = self.leader is member
        knows = leads or (member.hints and self.leader is not None)
        applied = self.machine.applied
        raft = Status(
            id=member.name,
            role=Role.LEADER if leads else Role.FOLLOWER,
            term=self.term,
            leader=self.leader.name if knows and self.leader is not None else None,
            commit=applied,
            applied=applied,
            first_index=1,
            last_index=applied,
            membership=self.membership or Membership(voters={each.name: each.address for each in self.members}),
        )
        return MemberStatus(raft=raft, unix_s=UNIX_S, failure=None, version="1.2.3")

    def lead(self, member: FakeMember, client: Client, request: Request) -> Response | None:
        match request:
            case Propose():
                return Done(id=request.id, result=self.apply(request))
            case Read():
                return Done(id=request.id, result=self.machine.read(request.compares, request.ops))
            case AskTime():
                return Done(id=request.id, result=UNIX_S)
            case Watch():
                changes = self.machine.changes_since(request.key, request.prefix, request.after)
                self.watched.append(_Watched(member, client, request))
                revision = self.machine.applied
                return Event(id=request.id, changes=changes or (), revision=revision, resync=changes is None)
        return Refused(id=request.id, problem=Problem.INVALID, text="not here")

    def apply(self, request: Request) -> object:
        """Apply a change now, whoever waits for it or not."""
        assert isinstance(request, Propose)
        self.proposals.append(decode(request.command))
        applied = self.machine.apply(self.machine.applied + 1, request.command)
        for each in self.watched:
            changes = tuple(change for change in applied.changes if _matches(each.request, change))
            if changes and not each.member.mute:
                each.client.send(Event(id=each.request.id, changes=changes, revision=self.machine.applied))
        return applied.outcome

    def unwatch(self, client: Client, number: int) -> None:
        self.watched = [each for each in self.watched if not (each.client is client and each.request.id == number)]


def hang_up(client: Client) -> None:
    """Break a client's connection."""
    assert isinstance(client, Connection)
    client.abort()


def _matches(watch: Watch, change: Changed) -> bool:
    return change.key.startswith(watch.key) if watch.prefix else change.key == watch.key


@asynccontextmanager
async def fake_cluster(*names: str, security: Security | None = None, id: str = "fake") -> AsyncIterator[FakeCluster]:
    """A cluster of these members, the first of which leads."""
    cluster = FakeCluster(names or ("a", "b", "c"), security, id)
    try:
        for member in cluster.members:
            await member.start()
        yield cluster
    finally:
        for member in cluster.members:
            await member.stop()
        await asyncio.sleep(0)
