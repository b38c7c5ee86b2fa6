"""Members and clients over real sockets on loopback: who is let in, what is refused, and that nothing is harmed by it."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from leasekit.backends.raft import transport, wire
from leasekit.backends.raft.core.messages import Append, Heartbeat, Message, Vote
from leasekit.backends.raft.core.types import Entry, EntryKind, Membership
from leasekit.backends.raft.requests import (
    AskStatus,
    Done,
    Event,
    NotLeader,
    Problem,
    Propose,
    Refused,
    Request,
    Response,
)
from leasekit.backends.raft.transport import Client, Identity, Listener, PeerLinks, Security, incoming
from leasekit.backends.raft.transport.outbox import Outbox
from leasekit.backends.raft.transport.outgoing import NoConnection
from leasekit.backends.raft.wire import Codec, Hello, Purpose, Rejected, Welcome
from leasekit.store import Changed, Committed
from leasekit.store import Entry as KeyEntry
from support.raft_certificates import Authority
from support.raft_patience import end
from support.raft_versions import NEWER_CODEC

_CLUSTER = "cluster"
_PATIENCE_S = 30.0


class Recorder:
    """A member that only remembers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.requests: list[tuple[Client, Request]] = []
        self.gone: list[Client] = []
        self.answer: Callable[[Request], Response | None] = lambda request: None
        self._news = asyncio.Event()

    def on_message(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    def on_request(self, client: Client, request: Request) -> None:
        self.requests.append((client, request))
        response = self.answer(request)
        if response is not None:
            client.send(response)
        self._news.set()

    def on_disconnect(self, client: Client) -> None:
        self.gone.append(client)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


class Member:
    def __init__(self, name: str, security: Security | None, codec: Codec, **limits: int) -> None:
        identity = Identity(name, _CLUSTER)
        self.name = name
        self.handler = Recorder()
        self.listener = Listener(identity, self.handler, security=security, codec=codec, **limits)
        self.links = PeerLinks(identity, random=random.Random(1), security=security, codec=codec)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.port}"

    def heartbeat(self, to: str, round: int = 0) -> Heartbeat:
        return Heartbeat(sender=self.name, to=to, term=1, commit=0, round=round)

    def meet(self, *members: Member) -> None:
        membership = Membership(voters={member.name: member.address for member in (self, *members)})
        self.listener.update(membership)
        self.links.update(membership)

    async def connected(self, *names: str) -> None:
        await _eventually(lambda: self.links.connected() == set(names))


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def members(
    *names: str, security: dict[str, Security] | None = None, codecs: Mapping[str, Codec] | None = None, **limits: int
) -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            member = Member(name, (security or {}).get(name), (codecs or {}).get(name, wire.CODEC), **limits)
            stack.push_async_callback(member.links.aclose)
            stack.push_async_callback(member.listener.aclose)
            await member.listener.start("127.0.0.1", 0)
            found.append(member)
        for member in found:
            member.meet(*(other for other in found if other is not member))
        yield found


class Raw:
    """A connection that may say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames = wire.Frames()
        self._bodies: list[bytes] = []

    async def body(self) -> bytes | None:
        async with asyncio.timeout(_PATIENCE_S):
            while not self._bodies:
                try:
                    data = await self.reader.read(65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._bodies += self._frames.feed(data)
        return self._bodies.pop(0)

    async def hello(self, **changes: object) -> Welcome | Rejected:
        said = {"oldest": 1, "newest": 1, "cluster": _CLUSTER, "purpose": Purpose.CLIENT, "member": ""} | changes
        self.say(wire.encode_handshake(Hello(**said)))  # type: ignore[arg-type]
        body = await self.body()
        assert body is not None
        return wire.decode_answer(body)

    def say(self, body: bytes) -> None:
        self.writer.write(wire.frame(body))

    async def closed(self) -> bool:
        return await self.body() is None


@asynccontextmanager
async def raw(member: Member, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    host = "127.0.0.1" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", member.listener.port, ssl=tls, server_hostname=host)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def _serves(member: Member) -> None:
    """It is well: it still welcomes a client, and answers it."""
    member.handler.answer = lambda request: Done(id=request.id, result=None)
    async with raw(member) as client:
        assert isinstance(await client.hello(), Welcome)
        client.say(wire.encode_request(AskStatus(id=7)))
        body = await client.body()
        assert body is not None and wire.decode_response(body) == Done(id=7, result=None)


async def test_members_hear_each_other() -> None:
    async with members("a", "b", "c") as [a, b, c]:
        for member in (a, b, c):
            await member.connected(*{"a", "b", "c"} - {member.name})
        for round in range(50):
            a.links.send(a.heartbeat("b", round))
            b.links.send(b.heartbeat("a", round))
        a.links.send(a.heartbeat("c"))
        await a.handler.until(lambda: len(a.handler.messages) == 50)
        await b.handler.until(lambda: len(b.handler.messages) == 50)
        await c.handler.until(lambda: len(c.handler.messages) == 1)
        assert a.handler.messages == [b.heartbeat("a", round) for round in range(50)]
        assert b.handler.messages == [a.heartbeat("b", round) for round in range(50)]


async def test_a_long_append_arrives_whole() -> None:
    async with members("a", "b") as [a, b]:
        await a.connected("b")
        entries = tuple(Entry(i, 1, EntryKind.COMMAND, bytes([i]) * 700_000) for i in (1, 2, 3))
        append = Append(sender="a", to="b", term=1, previous_index=0, previous_term=0, entries=entries, commit=0)
        a.links.send(append)
        await b.handler.until(lambda: bool(b.handler.messages))
        assert b.handler.messages == [append]


async def test_a_link_comes_back_when_its_member_does() -> None:
    async with members("a", "b") as [a, b]:
        await a.connected("b")
        port = b.listener.port
        await b.listener.aclose()
        await a.connected()
        a.links.send(a.heartbeat("b"))  # dropped
        await b.listener.start("127.0.0.1", port)
        await a.connected("b")
        a.links.send(a.heartbeat("b", 1))
        await b.handler.until(lambda: bool(b.handler.messages))
        assert b.handler.messages == [a.heartbeat("b", 1)]


async def test_a_link_follows_its_member_to_another_address() -> None:
    async with members("a", "b") as [a, b]:
        await a.connected("b")
        await b.listener.aclose()
        await b.listener.start("127.0.0.1", 0)
        a.meet(b)
        await a.connected("b")


async def test_who_left_the_membership_is_not_connected_to_any_more() -> None:
    async with members("a", "b") as [a, b]:
        await a.connected("b")
        a.meet()
        await a.connected()
        await _eventually(lambda: not b.listener._members)
        a.links.send(a.heartbeat("b"))
        await asyncio.sleep(0.1)
        assert b.handler.messages == []


async def test_an_unreachable_member_is_complained_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members("a", "b") as [a, b]:
        # On a busy machine the first attempts may fail as well, and be said.
        await a.connected("b")
        caplog.clear()
        attempts = _attempts(a.links, monkeypatch)
        await b.listener.aclose()
        await _eventually(lambda: len(attempts) >= 4)
        said = [record for record in caplog.records if "member b at 127.0.0.1" in record.getMessage()]
        assert [(record.name, record.levelname) for record in said] == [("leasekit.raft", "WARNING")]


def _attempts(links: PeerLinks, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why each attempt to connect fails, from now on."""
    failed: list[str] = []
    complain = links.complain

    def noting(who: str, error: NoConnection) -> None:
        complain(who, error)
        failed.append(str(error))

    monkeypatch.setattr(links, "complain", noting)
    return failed


async def test_a_link_to_another_cluster_is_refused_on_both_sides_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members("a") as [a], members("b") as [b]:
        stray = PeerLinks(Identity("a", "elsewhere"), random=random.Random(1))
        attempts = _attempts(stray, monkeypatch)
        stray.update(Membership(voters={"b": b.address}))
        await _eventually(lambda: sum("elsewhere" in attempt for attempt in attempts) >= 4)
        assert sum("elsewhere" in record.getMessage() for record in caplog.records) == 2
        assert stray.connected() == set()
        await stray.aclose()
        await _serves(a)
        await _serves(b)


async def test_a_link_that_ends_at_another_member_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    async with members("a", "b") as [a, b]:
        a.links.update(Membership(voters={"c": b.address}))
        await _eventually(lambda: "is member 'b'" in caplog.text)
        assert a.links.connected() == set()


async def test_two_members_of_one_name_do_not_talk() -> None:
    async with members("b") as [b], raw(b) as impostor:
        answer = await impostor.hello(purpose=Purpose.MEMBER, member="b")
        assert isinstance(answer, Rejected) and "ids are unique" in answer.reason
        assert await impostor.closed()


async def test_a_client_is_answered_and_its_end_is_told() -> None:
    async with members("a") as [a]:
        async with raw(a) as client:
            assert await client.hello(cluster="") == Welcome(version=1, member="a", cluster=_CLUSTER)
            client.say(wire.encode_request(AskStatus(id=3)))
            await a.handler.until(lambda: bool(a.handler.requests))
            [(asking, request)] = a.handler.requests
            assert request == AskStatus(id=3)
            asking.send(NotLeader(id=3, leader="h:1"))
            body = await client.body()
            assert body is not None and wire.decode_response(body) == NotLeader(id=3, leader="h:1")
            assert a.listener.clients == 1
        await a.handler.until(lambda: bool(a.handler.gone))
        assert a.handler.gone == [asking]
        asking.send(NotLeader(id=3, leader=None))  # without effect
        assert a.listener.clients == 0


async def test_answers_of_one_turn_leave_in_their_order() -> None:
    async with members("a") as [a], raw(a) as client:
        a.handler.answer = lambda request: NotLeader(id=request.id, leader=None)
        await client.hello()
        for number in range(200):
            client.say(wire.encode_request(AskStatus(id=number)))
        for number in range(200):
            body = await client.body()
            assert body is not None and wire.decode_response(body).id == number


async def test_a_client_of_another_cluster_is_refused() -> None:
    async with members("a") as [a], raw(a) as client:
        answer = await client.hello(cluster="elsewhere")
        assert isinstance(answer, Rejected) and "'elsewhere'" in answer.reason
        assert await client.closed()


async def test_a_refusal_is_short_whatever_was_said() -> None:
    async with members("a") as [a], raw(a) as client:
        answer = await client.hello(cluster="\U0001f511" * 256)
        assert isinstance(answer, Rejected) and len(answer.reason) <= wire.MAX_REASON


async def test_a_version_that_is_not_spoken_is_refused() -> None:
    async with members("a") as [a], raw(a) as client:
        answer = await client.hello(oldest=7, newest=9)
        assert isinstance(answer, Rejected) and "7 to 9" in answer.reason


async def test_two_versions_of_the_messages_work_side_by_side() -> None:
    codecs = {"b": NEWER_CODEC, "c": NEWER_CODEC}
    async with members("a", "b", "c", codecs=codecs) as [a, b, c]:
        for member in (a, b, c):
            await member.connected(*{"a", "b", "c"} - {member.name})
        for member in (a, b, c):
            for other in (a, b, c):
                if other is not member:
                    member.links.send(member.heartbeat(other.name))
        for member in (a, b, c):
            await member.handler.until(lambda member=member: len(member.handler.messages) == 2)  # type: ignore[misc]
        versions = {(name, link._line and link._line.version) for name, link in b.links._links.items()}
        assert versions == {("a", 1), ("c", 2)}


async def test_silence_is_not_waited_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async with members("a") as [a]:
        with monkeypatch.context() as patch:
            patch.setattr(incoming, "HELLO_S", 0.1)
            async with raw(a) as silent:
                assert await silent.closed()
        await _serves(a)


async def test_fuzzed_bytes_end_their_own_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(5)
    async with members("a", "b") as [a, b], raw(a) as bystander:
        await bystander.hello()
        for number in range(60):
            async with raw(a) as fuzzer:
                if number % 3 == 1:
                    assert isinstance(await fuzzer.hello(), Welcome)
                if number % 3 == 2:
                    await fuzzer.hello(purpose=Purpose.MEMBER, member="x")
                noise = chance.randbytes(chance.randrange(8, 400))
                # As it is, or dressed up as a frame.
                fuzzer.writer.write(noise if number % 2 else wire.frame(noise))
                fuzzer.writer.write_eof()
                assert await fuzzer.closed()
        bystander.say(wire.encode_request(AskStatus(id=1)))
        await a.handler.until(lambda: bool(a.handler.requests))
        await b.connected("a")
        assert a.handler.messages == []
        # What members say of each other, on a busy machine, does not count.
        said = [record for record in caplog.records if record.getMessage().startswith(("127.0.0.1:", "member x "))]
        assert len(said) <= 3, "each kind of trouble is said once"
        await _serves(a)


@pytest.mark.parametrize("purpose", [None, Purpose.CLIENT, Purpose.MEMBER])
async def test_an_oversized_frame_is_refused_by_its_length(purpose: Purpose | None) -> None:
    async with members("a") as [a], raw(a) as client:
        limit = wire.MAX_HANDSHAKE_BYTES
        if purpose is Purpose.CLIENT:
            await client.hello()
            limit = wire.MAX_REQUEST_BYTES
        elif purpose is Purpose.MEMBER:
            await client.hello(purpose=purpose, member="x")
            limit = wire.MAX_FRAME_BYTES
        client.writer.write((limit + 1).to_bytes(4, "big"))
        assert await client.closed()
        await _serves(a)


async def test_a_member_speaks_for_itself_alone() -> None:
    async with members("a") as [a], raw(a) as member:
        await member.hello(purpose=Purpose.MEMBER, member="x")
        vote = Vote(sender="y", to="a", term=9, last_index=0, last_term=0)
        member.say(wire.encode_message(vote))
        assert await member.closed()
        assert a.handler.messages == []


async def test_a_member_asks_nothing_and_a_client_sends_no_messages() -> None:
    async with members("a") as [a]:
        async with raw(a) as member:
            await member.hello(purpose=Purpose.MEMBER, member="x")
            member.say(wire.encode_request(AskStatus(id=1)))
            assert await member.closed()
        async with raw(a) as client:
            await client.hello()
            client.say(wire.encode_message(Vote(sender="x", to="a", term=9, last_index=0, last_term=0)))
            assert await client.closed()
        assert a.handler.messages == [] and a.handler.requests == []


async def test_one_client_too_many_is_refused_until_another_leaves() -> None:
    async with members("a", max_clients=1) as [a]:
        async with raw(a) as first:
            assert isinstance(await first.hello(), Welcome)
            async with raw(a) as second:
                answer = await second.hello()
                assert isinstance(answer, Rejected) and "clients" in answer.reason
        await _eventually(lambda: a.listener.clients == 0)
        await _serves(a)


async def test_strangers_cannot_keep_members_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody is hung up on because of its silence here.
    monkeypatch.setattr(incoming, "HELLO_S", 100 * _PATIENCE_S)
    async with members("a", max_strangers=3) as [a], AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(raw(a)) for _ in range(10)]
        assert await strangers[0].closed(), "the oldest goes first"
        async with raw(a) as member:
            assert isinstance(await member.hello(purpose=Purpose.MEMBER, member="b"), Welcome)


async def test_a_slow_reader_is_disconnected() -> None:
    async with members("a") as [a], raw(a) as client:
        await client.hello()
        client.say(wire.encode_request(AskStatus(id=1)))
        await a.handler.until(lambda: bool(a.handler.requests))
        [(slow, _)] = a.handler.requests
        change = Changed("k", KeyEntry("k", bytes(1_000_000), 1, 1, None), 1)
        sent = 0
        while not a.handler.gone and sent < 200:
            slow.send(Event(id=1, changes=(change,), revision=1))
            sent += 1
            await asyncio.sleep(0)
        assert a.handler.gone == [slow]
        await _serves(a)


async def test_who_reads_no_answers_is_read_no_further() -> None:
    async with members("a") as [a], raw(a) as client:
        big = KeyEntry("k", bytes(1_000_000), 1, 1, None)
        a.handler.answer = lambda request: Done(id=request.id, result=Committed(1, ((big,),)))
        await client.hello()
        asked = 150
        for number in range(asked):
            client.say(wire.encode_request(Propose(id=number, command=bytes(100_000))))
        await a.handler.until(lambda: len(a.handler.requests) >= 3)
        await asyncio.sleep(0.3)
        assert len(a.handler.requests) < 50
        for number in range(asked):
            body = await client.body()
            assert body is not None and wire.decode_response(body).id == number
        assert a.handler.gone == []


async def test_an_answer_longer_than_a_frame_is_replaced_by_saying_so() -> None:
    async with members("a") as [a], raw(a) as client:
        await client.hello()
        client.say(wire.encode_request(AskStatus(id=1)))
        await a.handler.until(lambda: bool(a.handler.requests))
        [(asking, _)] = a.handler.requests
        entries = tuple(KeyEntry(f"k{i}", bytes(1_000_000), 1, 1, None) for i in range(9))
        asking.send(Done(id=1, result=Committed(5, (entries,))))
        asking.send(Event(id=2, changes=tuple(Changed(e.key, e, 5) for e in entries), revision=5))
        first, second = await client.body(), await client.body()
        assert first is not None and second is not None
        refused = wire.decode_response(first)
        assert isinstance(refused, Refused) and refused.problem is Problem.INVALID
        assert wire.decode_response(second) == Event(id=2, changes=(), revision=5, resync=True)


async def test_a_link_that_is_not_read_drops_heartbeats_and_keeps_votes() -> None:
    vote, heartbeat = b"v" * 10, b"h" * 10
    outbox = Outbox(100)
    for _ in range(5):
        outbox.add(vote)
        outbox.add(heartbeat, droppable=True)
    assert not outbox.full
    outbox.add(heartbeat, droppable=True)
    assert outbox.full
    outbox.make_room()
    assert (outbox.bytes, outbox.dropped) == (50, 6)
    assert outbox.take() == vote * 5


async def test_a_stuck_member_costs_bounded_memory() -> None:
    async with members("a") as [a]:
        stuck = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Raw(reader, writer)
            await peer.body()
            peer.say(wire.encode_handshake(Welcome(version=1, member="b", cluster=_CLUSTER)))
            await stuck.wait()
            writer.transport.abort()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        a.links.update(Membership(voters={"b": f"127.0.0.1:{port}"}))
        await a.connected("b")
        entries = (Entry(1, 1, EntryKind.COMMAND, bytes(1_000_000)),)
        append = Append(sender="a", to="b", term=1, previous_index=0, previous_term=0, entries=entries, commit=0)
        link, dropped = a.links._links["b"], 0
        async with asyncio.timeout(_PATIENCE_S):
            while dropped <= 100:
                # Given up after 3 s and connected anew, should this take so long.
                if (line := link._line) is None:
                    await asyncio.sleep(0.005)
                    continue
                for _ in range(20):
                    a.links.send(append)
                    assert line.outbox.bytes <= 17_000_000
                dropped = line.outbox.dropped
                await asyncio.sleep(0)
        stuck.set()
        await end(server)


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with members("a") as [a]:
        second = Listener(Identity("b", _CLUSTER), Recorder())
        with pytest.raises(OSError, match="in use"):
            await second.start("127.0.0.1", a.listener.port)


async def test_idle_links_do_nothing() -> None:
    async with members("a", "b", "c") as [a, b, c]:
        for member in (a, b, c):
            await member.connected(*{"a", "b", "c"} - {member.name})
        loop = asyncio.get_running_loop()
        turns = 0
        original = loop._run_once  # type: ignore[attr-defined]

        def count() -> None:
            nonlocal turns
            turns += 1
            original()

        loop._run_once = count  # type: ignore[attr-defined]
        try:
            await asyncio.sleep(0.5)
        finally:
            loop._run_once = original  # type: ignore[attr-defined]
        assert turns < 10


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def _security(authority: Authority, *names: str, peer_names: tuple[str, ...] = ()) -> Security:
    return transport.load(*authority.issue(*names).texts, peer_names=peer_names)


def _client_tls(authority: Authority, *names: str, common_name: str | None = None) -> ssl.SSLContext:
    pem = authority.issue(*names, common_name=common_name)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(pem.cert, pem.key)
    return context


async def test_members_with_certificates_for_their_ids_hear_each_other(authority: Authority) -> None:
    security = {name: _security(authority, "127.0.0.1", name) for name in ("a", "b")}
    async with members("a", "b", security=security) as [a, b]:
        await a.connected("b")
        a.links.send(a.heartbeat("b"))
        await b.handler.until(lambda: bool(b.handler.messages))


async def test_members_with_certificates_for_their_hosts_hear_each_other(authority: Authority) -> None:
    security = {name: _security(authority, "127.0.0.1") for name in ("a", "b")}
    async with members("a", "b", security=security) as [a, b]:
        await a.connected("b")
        await b.connected("a")


async def test_a_client_with_a_certificate_is_welcome_and_cannot_pose_as_a_member(authority: Authority) -> None:
    security = {name: _security(authority, "127.0.0.1", name) for name in ("a", "b")}
    tls = _client_tls(authority, "client.example", common_name="reports")
    async with members("a", "b", security=security) as [a, _]:
        async with raw(a, tls) as client:
            assert isinstance(await client.hello(), Welcome)
        for pretended in ("b", "reports", "client.example"):
            async with raw(a, tls) as impostor:
                answer = await impostor.hello(purpose=Purpose.MEMBER, member=pretended)
                assert isinstance(answer, Rejected) and "certificate" in answer.reason
                assert await impostor.closed()


async def test_a_member_cannot_pose_as_another(authority: Authority) -> None:
    security = {name: _security(authority, "127.0.0.1", name) for name in ("a", "b")}
    async with members("a", "b", security=security) as [a, _]:
        a.listener.update(Membership(voters={"a": a.address, "b": "b.example:1", "c": "c.example:1"}))
        tls = _client_tls(authority, "c.example")
        async with raw(a, tls) as impostor:
            assert isinstance(await impostor.hello(purpose=Purpose.MEMBER, member="b"), Rejected)
        async with raw(a, tls) as itself:
            assert isinstance(await itself.hello(purpose=Purpose.MEMBER, member="c"), Welcome)


async def test_peer_names_say_who_is_a_member_whatever_the_membership(authority: Authority) -> None:
    security = {"a": _security(authority, "127.0.0.1", peer_names=("*.raft.example",))}
    async with members("a", security=security) as [a]:
        async with raw(a, _client_tls(authority, "n7.raft.example")) as member:
            assert isinstance(await member.hello(purpose=Purpose.MEMBER, member="new"), Welcome)
        for wrong in ("raft.example", "x.y.raft.example", "a", "127.0.0.1"):
            async with raw(a, _client_tls(authority, wrong)) as impostor:
                assert isinstance(await impostor.hello(purpose=Purpose.MEMBER, member="a7"), Rejected)


@pytest.mark.parametrize("shows", ["nothing", "another authority's"])
async def test_who_shows_no_good_certificate_is_refused_and_it_is_said_once(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, shows: str
) -> None:
    tls = ssl.create_default_context(cafile=str(authority.ca))
    if shows != "nothing":
        pem = Authority(tmp_path / "another").issue("client.example")
        tls.load_cert_chain(pem.cert, pem.key)
    async with members("a", security={"a": _security(authority, "127.0.0.1", "a")}) as [a]:
        for _ in range(3):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                async with raw(a, tls) as client:
                    await client.hello()
        await _eventually(lambda: bool(caplog.records))
        assert len(caplog.records) == 1
        async with raw(a, _client_tls(authority, "client.example")) as client:
            assert isinstance(await client.hello(), Welcome)


async def test_a_plain_connection_to_a_tls_port_is_refused(authority: Authority) -> None:
    async with members("a", security={"a": _security(authority, "127.0.0.1", "a")}) as [a]:
        async with raw(a) as plain:
            plain.say(wire.encode_handshake(Hello(oldest=1, newest=1, cluster="", purpose=Purpose.CLIENT)))
            # Perhaps an alert comes back, which is no frame of this protocol.
            async with asyncio.timeout(_PATIENCE_S):
                while await plain.reader.read(100):
                    pass
        async with raw(a, _client_tls(authority, "client.example")) as client:
            assert isinstance(await client.hello(), Welcome)


async def test_a_member_whose_certificate_is_for_another_host_is_not_connected_to(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = {"a": _security(authority, "127.0.0.1", "a"), "b": _security(authority, "b.example", "b")}
    async with members("a", "b", security=security) as [a, _]:
        attempts = _attempts(a.links, monkeypatch)
        await _eventually(lambda: sum("certificate verify failed" in attempt for attempt in attempts) >= 3)
        assert a.links.connected() == set()
        assert sum("certificate verify failed" in record.getMessage() for record in caplog.records) == 1


async def test_a_stalled_handshake_does_not_hold_up_others(authority: Authority) -> None:
    tls = _client_tls(authority, "client.example")
    security = {"a": _security(authority, "127.0.0.1", "a")}
    async with members("a", security=security) as [a], raw(a), raw(a, tls) as client:
        assert isinstance(await client.hello(), Welcome)
