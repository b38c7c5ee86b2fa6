"""What a member tells those who wait when it stops leading: what is committed is still answered, the rest is unknown."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from leasekit.backends.raft.core.messages import Heartbeat, Message, SnapshotPiece
from leasekit.backends.raft.core.types import Membership, Recovered, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.kv.commands import OpenSession, Proposal, encode
from leasekit.backends.raft.requests import (
    ChangeMembership,
    Done,
    MemberAction,
    Problem,
    Propose,
    Refused,
    Request,
    Response,
)
from leasekit.backends.raft.server import Server, ServerConfig
from leasekit.clock import SYSTEM_CLOCK

_OPEN = encode(Proposal(0, 0, 0, OpenSession(b"nonce")))


class Three:
    """Members a, b and c, of which a leads, and whose messages arrive at once. A disk can be made to wait."""

    def __init__(self) -> None:
        begun = Recovered(snapshot=Snapshot(SnapshotMeta(0, 0, Membership(voters=dict.fromkeys("abc", "host:1")))))
        self.servers = {
            name: Server(name, begun, ServerConfig(), Random(index), SYSTEM_CLOCK) for index, name in enumerate("abc")
        }
        self.waiting_disks: dict[str, list[Write]] = {}
        self.told: list[Response] = []
        self._mail: deque[Message] = deque()
        self.a.raft.campaign()
        self.run()
        assert self.a.raft.leading is not None

    @property
    def a(self) -> Server:
        return self.servers["a"]

    def ask(self, request: Request) -> None:
        self.a.request("client", request)
        self.run()

    def hold_disk(self, name: str) -> None:
        self.waiting_disks[name] = []

    def release_disk(self, name: str) -> None:
        for write in self.waiting_disks.pop(name):
            self.servers[name].persisted(write.number)
        self.run()

    def run(self) -> None:
        """Until nothing moves."""
        while self._mail or any(server.has_output for server in self.servers.values()):
            for name, server in self.servers.items():
                while server.has_output:
                    self._take(name, server)
            while self._mail:
                message = self._mail.popleft()
                self.servers[message.to].receive(message)

    def _take(self, name: str, server: Server) -> None:
        output = server.output()
        self._mail.extend(output.messages)
        self.told += [response for _, response in output.replies]
        if output.write is None:
            return
        if name in self.waiting_disks:
            self.waiting_disks[name].append(output.write)
        else:
            server.persisted(output.write.number)


@pytest.fixture
def three() -> Three:
    return Three()


def test_a_leader_that_takes_itself_out_answers_once_its_own_disk_has_it(three: Three) -> None:
    three.hold_disk("a")
    three.ask(ChangeMembership(id=7, action=MemberAction.REMOVE, member="a"))
    # The others have committed it, so it leads no more.
    assert three.a.raft.leading is None
    assert three.told == []
    three.release_disk("a")
    assert three.told == [Done(id=7, result=None)]


def test_what_is_committed_is_answered_by_a_leader_that_was_replaced(three: Three) -> None:
    three.hold_disk("a")
    three.ask(Propose(id=7, command=_OPEN))
    three.a.receive(Heartbeat(sender="b", to="a", term=three.a.raft.term + 1, commit=0, round=0))
    three.run()
    assert three.told == []
    three.release_disk("a")
    assert [type(response) for response in three.told] == [Done]


def test_what_is_not_committed_is_unknown_at_once(three: Three) -> None:
    three.hold_disk("b")
    three.hold_disk("c")
    three.ask(Propose(id=7, command=_OPEN))
    three.a.receive(Heartbeat(sender="b", to="a", term=three.a.raft.term + 1, commit=0, round=0))
    three.run()
    assert [(response.id, _problem(response)) for response in three.told] == [(7, Problem.UNKNOWN)]


def test_what_is_committed_is_unknown_if_the_disk_fails_before_it_is_applied(three: Three) -> None:
    three.hold_disk("a")
    three.ask(Propose(id=7, command=_OPEN))
    three.a.disk_failed("it broke")
    three.run()
    assert [(response.id, _problem(response)) for response in three.told] == [(7, Problem.UNKNOWN)]


def test_what_is_committed_is_unknown_if_a_snapshot_takes_the_place_of_its_entry(three: Three) -> None:
    three.hold_disk("a")
    three.ask(Propose(id=7, command=_OPEN))
    other = three.servers["b"]
    other.raft.campaign(transfer=True)
    three.run()
    assert other.raft.leading is not None and three.told == []
    # As if there were one more entry, which it has compacted.
    index = other.machine.applied + 1
    other.machine.apply(index, b"")
    meta = SnapshotMeta(index, other.raft.term, other.raft.membership)
    data = other.machine.freeze().encode()
    piece = SnapshotPiece(sender="b", to="a", term=other.raft.term, meta=meta, offset=0, data=data, size=len(data))
    three.a.receive(piece)
    three.run()
    three.release_disk("a")
    assert [(response.id, _problem(response)) for response in three.told] == [(7, Problem.UNKNOWN)]


def _problem(response: Response) -> Problem | None:
    return response.problem if isinstance(response, Refused) else None
