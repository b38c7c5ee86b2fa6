"""The Raft store against members that do wrong on demand: leaders found, answers lost, sessions ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from leasekit.backends import raft
from leasekit.backends.raft import wire
from leasekit.backends.raft.client import session
from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.kv.commands import OpenSession, Transact
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.backends.raft.kv.outcomes import TooManyOutstanding
from leasekit.backends.raft.requests import AskTime, Done, NotLeader, Problem, Propose, Read, Refused, Request, Watch
from leasekit.backends.raft.transport import Client
from leasekit.errors import ConfigError, LeaseLost, OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, At, Changed, Compare, Delete, Get, NoneUnder, Put, Resync, Store
from leasekit.urls import parse
from support.raft_fake import UNIX_S, FakeCluster, fake_cluster, hang_up
from support.raft_patience import OwnTime, end, pass_own_time, unavailable

_LONG_S = 30.0
_SHORT_S = 0.3


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = raft.open_store(parse(url))
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def cluster_and_store(*names: str) -> AsyncIterator[tuple[FakeCluster, Store]]:
    async with fake_cluster(*names) as cluster, opened(cluster.url()) as store:
        yield cluster, store


async def put(store: Store, key: str, value: bytes, *, timeout_s: float = _LONG_S) -> int:
    committed = await store.transact([], [Put(key, value)], timeout_s=timeout_s)
    assert committed is not None
    return committed.revision


async def value(store: Store, key: str) -> bytes | None:
    entry = await store.get(key, timeout_s=_LONG_S)
    return entry.value if entry else None


def writes(cluster: FakeCluster) -> int:
    """How many transactions reached the state machine, copies included."""
    return sum(isinstance(proposal.command, Transact) for proposal in cluster.proposals)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LONG_S):
        while not condition():
            await asyncio.sleep(0.005)


# Requests


async def test_keys_stand_under_the_prefix_and_come_back_without_it() -> None:
    async with cluster_and_store() as (cluster, store):
        revision = await put(store, "q/key", b"1")
        found = cluster.machine.get("p/q/key")
        assert found is not None and found.revision == revision
        entry = await store.get("q/key", timeout_s=_LONG_S)
        assert entry is not None and (entry.key, entry.value, entry.revision) == ("q/key", b"1", revision)
        assert [entry.key for entry in (await store.scan("q/", timeout_s=_LONG_S)).entries] == ["q/key"]
        compares: list[Compare] = [At("q/key", revision), NoneUnder("r/"), Absent("x")]
        committed = await store.transact(compares, [Get("", prefix=True), Delete("q/key")], timeout_s=_LONG_S)
        assert committed is not None and [entry.key for entry in committed.reads[0]] == ["q/key"]
        assert await value(store, "q/key") is None


async def test_a_transaction_of_reads_alone_is_a_read() -> None:
    async with cluster_and_store() as (cluster, store):
        revision = await put(store, "k", b"1")
        before = len(cluster.proposals)
        committed = await store.transact([At("k", revision)], [Get("k")], timeout_s=_LONG_S)
        assert committed is not None and committed.revision == revision
        assert await store.transact([Absent("k")], [Get("k")], timeout_s=_LONG_S) is None
        assert len(cluster.proposals) == before


async def test_leases_are_granted_renewed_and_revoked() -> None:
    async with cluster_and_store() as (cluster, store):
        lease = await store.grant(1.5004, timeout_s=_LONG_S)
        assert lease.ttl_s == 1.501
        assert await store.renew(lease.id, timeout_s=_LONG_S) == 1.501
        assert await store.transact([], [Put("k", b"", lease.id)], timeout_s=_LONG_S)
        await store.revoke(lease.id, timeout_s=_LONG_S)
        assert cluster.machine.get("p/k") is None
        await store.revoke(lease.id, timeout_s=_LONG_S)
        with pytest.raises(LeaseLost) as lost:
            await store.renew(lease.id, timeout_s=_LONG_S)
        assert lost.value.lease_id == lease.id
        with pytest.raises(LeaseLost):
            await store.transact([], [Put("k", b"", lease.id)], timeout_s=_LONG_S)


async def test_a_lease_id_that_no_store_could_have_given_is_unknown() -> None:
    async with cluster_and_store() as (_, store):
        await store.revoke("x" * 1000, timeout_s=_LONG_S)
        with pytest.raises(LeaseLost):
            await store.renew("x" * 1000, timeout_s=_LONG_S)


@pytest.mark.parametrize("ttl_s", [0.4, 0.0, -1.0, float("nan"), float("inf"), 1e8])
async def test_a_time_to_live_out_of_range_is_refused(ttl_s: float) -> None:
    async with opened("raft://127.0.0.1:1/p") as store:
        with pytest.raises(ConfigError):
            await store.grant(ttl_s, timeout_s=_SHORT_S)


@pytest.mark.parametrize("key", ["k" * 2000, "\ud800"])
async def test_a_key_that_cannot_be_is_refused_without_harm(key: str) -> None:
    async with cluster_and_store() as (_, store):
        for call in (
            lambda: store.get(key, timeout_s=_LONG_S),
            lambda: store.scan(key, timeout_s=_LONG_S),
            lambda: store.transact([], [Put(key, b"")], timeout_s=_LONG_S),
        ):
            with pytest.raises(ConfigError):
                await call()
        watch = store.watch(key, after=0)
        with pytest.raises(ConfigError):
            await anext(watch)
        assert await put(store, "k", b"1")


async def test_the_leader_tells_the_time() -> None:
    async with cluster_and_store() as (_, store):
        time = await store.server_time(timeout_s=_LONG_S)
        assert time is not None and time.unix_s == UNIX_S


async def test_many_requests_share_one_connection() -> None:
    async with cluster_and_store() as (cluster, store):
        await asyncio.gather(*(put(store, f"k{n}", b"") for n in range(500)))
        assert len((await store.scan("k", timeout_s=_LONG_S)).entries) == 500
        assert [member.listener.clients for member in cluster.members] == [1, 0, 0]


async def test_an_idle_store_does_nothing() -> None:
    async with cluster_and_store() as (_, store):
        await put(store, "k", b"1")
        await asyncio.sleep(0.6)  # the last check whether an answer is owed
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
        assert turns < 6


# Finding the leader


async def test_a_follower_says_who_leads() -> None:
    async with fake_cluster() as cluster, opened(cluster.url(members=cluster.members[1:2])) as store:
        cluster.elect(cluster.members[2])
        await put(store, "k", b"1")
        assert cluster.members[0].asked == []


async def test_the_leader_is_found_where_nobody_knows_it() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.elect(cluster.members[2])
        for member in cluster.members:
            member.hints = False
        assert await put(store, "k", b"1")


async def test_a_leader_that_is_not_in_the_url_is_found_again_when_the_others_are_gone() -> None:
    async with fake_cluster() as cluster, opened(cluster.url(members=cluster.members[:1])) as store:
        await put(store, "k", b"1")
        await cluster.members[0].stop()
        cluster.elect(cluster.members[2])
        assert await value(store, "k") == b"1"


async def test_an_election_is_waited_for() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        cluster.elect(None)
        asyncio.get_running_loop().call_later(0.5, cluster.elect, cluster.members[1])
        async with OwnTime() as time:
            assert await value(store, "k") == b"1"
        assert time.passed_s < 2


async def test_a_member_that_does_not_answer_holds_nothing_up() -> None:
    async with fake_cluster() as cluster:
        cluster.elect(cluster.members[2])
        cluster.members[0].mute = True
        cluster.members[1].hints = False
        async with opened(cluster.url()) as store, OwnTime() as time:
            assert await put(store, "k", b"1")
            assert time.passed_s < 0.9, "looking at one member takes a second at most"


async def test_a_frozen_leader_is_left_for_its_successor() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        frozen = cluster.members[0]
        frozen.mute = True
        cluster.elect(cluster.members[1])
        async with OwnTime() as time:
            assert await put(store, "k", b"2")
        assert time.passed_s < 4


async def test_a_member_of_another_cluster_is_not_fallen_for() -> None:
    async with fake_cluster("a", "b") as cluster, fake_cluster("a", id="another") as stranger:
        url = cluster.url(members=[*cluster.members, *stranger.members])
        async with opened(url) as store:
            await put(store, "k", b"1")
            cluster.elect(None)
            for member in cluster.members:
                await member.stop()
            await unavailable(lambda timeout_s: store.get("k", timeout_s=timeout_s), "another", timeout_s=1.0)
        assert stranger.machine.applied == 0


async def test_no_member_at_all_is_unavailable_in_time_and_says_why() -> None:
    async with fake_cluster() as cluster, opened(cluster.url()) as store:
        for member in cluster.members:
            await member.stop()
        calls: list[Callable[[float], Awaitable[object]]] = [
            lambda timeout_s: store.get("k", timeout_s=timeout_s),
            lambda timeout_s: store.grant(1.0, timeout_s=timeout_s),
            lambda timeout_s: put(store, "k", b"", timeout_s=timeout_s),
            lambda timeout_s: store.server_time(timeout_s=timeout_s),
        ]
        for call in calls:
            await unavailable(call, "connection refused")


async def test_nobody_is_asked_once_nobody_waits() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.elect(None)
        with pytest.raises(StoreUnavailable):
            await store.get("k", timeout_s=_SHORT_S)
        await pass_own_time(1.0)
        asked = sum(len(member.asked) for member in cluster.members)
        await pass_own_time(1.0)
        assert sum(len(member.asked) for member in cluster.members) == asked


async def test_a_cluster_without_a_leader_is_not_asked_without_a_pause() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.elect(None)

        async def get(timeout_s: float) -> None:
            asked = sum(len(member.asked) for member in cluster.members)
            try:
                await store.get("k", timeout_s=timeout_s)
            finally:
                assert sum(len(member.asked) for member in cluster.members) - asked < 60 * timeout_s

        await unavailable(get, "election", timeout_s=1.0)


async def test_a_member_that_says_it_leads_and_refuses_is_not_asked_without_a_pause() -> None:
    async with cluster_and_store() as (cluster, store):
        leader = cluster.members[0]

        def deny(client: Client, request: Request) -> bool:
            if isinstance(request, Read):
                client.send(NotLeader(id=request.id, leader=None))
            return isinstance(request, Read)

        leader.fault = deny
        with pytest.raises(StoreUnavailable):
            await store.get("k", timeout_s=1.0)
        assert len(leader.asked) < 60


async def _speak(data: bytes, *, after_welcome: bool) -> tuple[asyncio.Server, str]:
    """A server that speaks out of turn: at once, or when it is asked something."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        if after_welcome:
            welcome = wire.Welcome(version=1, member="a", cluster="fake")
            writer.write(wire.frame(wire.encode_handshake(welcome)))
            await reader.read(1000)
        writer.write(data)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"raft://127.0.0.1:{server.sockets[0].getsockname()[1]}/p"


@pytest.mark.parametrize("after_welcome", [False, True])
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x03abc", b"\0\0\0\x02\x01\x40"])
async def test_a_server_that_is_no_member_is_unavailable_and_not_asked_without_a_pause(
    data: bytes, after_welcome: bool
) -> None:
    server, url = await _speak(data, after_welcome=after_welcome)
    async with opened(url) as store:
        await unavailable(lambda timeout_s: put(store, "k", b"1", timeout_s=timeout_s), "does not speak this protocol")
        with pytest.raises(StoreUnavailable):
            await store.get("k", timeout_s=_SHORT_S)
        health = await store.probe(timeout_s=_LONG_S)
        assert not health.reachable and "does not speak" in (health.endpoints[0].error or "")
    await end(server)


# Answers that are lost


async def test_a_change_whose_answer_was_lost_is_applied_once_and_answered() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        cluster.members[0].apply_and_hang_up(count=2)
        committed = await store.transact([Absent("k")], [Put("k", b"1")], timeout_s=_LONG_S)
        assert committed is not None, "the retry is answered as the first copy was"
        found = await store.get("k", timeout_s=_LONG_S)
        assert found is not None and found.revision == committed.revision
        assert writes(cluster) == 4, "one, and three copies of the other"


async def test_a_change_in_doubt_is_settled_at_the_next_leader() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        old, new = cluster.members[:2]

        def depose(client: Client, request: Request) -> bool:
            if isinstance(request, Propose):
                cluster.apply(request)
                cluster.elect(new)
                hang_up(client)
            return isinstance(request, Propose)

        old.fault = depose
        assert await store.transact([Absent("k")], [Put("k", b"1")], timeout_s=_LONG_S) is not None
        lease = await store.grant(1.0, timeout_s=_LONG_S)
        old.fault = lambda client, request: False
        assert await store.renew(lease.id, timeout_s=_LONG_S) == 1.0


@pytest.mark.parametrize("problem", [Problem.UNKNOWN, Problem.UNAVAILABLE])
async def test_a_refused_change_is_tried_again(problem: Problem) -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        if problem is Problem.UNKNOWN:
            cluster.members[0].apply_and_say(problem)
        else:
            cluster.members[0].refuse(problem, Propose, count=2)
        assert await store.transact([Absent("k")], [Put("k", b"1")], timeout_s=_LONG_S) is not None


async def test_what_is_refused_until_time_is_up_was_surely_not_applied() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        cluster.members[0].refuse(Problem.UNAVAILABLE, Propose)
        await unavailable(lambda timeout_s: put(store, "k", b"1", timeout_s=timeout_s), "on demand")


async def test_what_was_in_doubt_once_stays_so_whatever_is_refused_later() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        leader = cluster.members[0]
        refusals = [Problem.UNKNOWN]

        def fault(client: Client, request: Request) -> bool:
            if isinstance(request, Propose):
                problem = refusals.pop() if refusals else Problem.UNAVAILABLE
                client.send(Refused(id=request.id, problem=problem, text="no"))
            return isinstance(request, Propose)

        leader.fault = fault
        with pytest.raises(OutcomeUnknown):
            await put(store, "k", b"1", timeout_s=_SHORT_S)


async def test_a_change_that_is_never_answered_is_of_unknown_outcome_in_time() -> None:
    async with cluster_and_store() as (cluster, store):
        lease = await store.grant(5.0, timeout_s=_LONG_S)
        cluster.members[0].swallow(Propose)
        for call in (
            lambda: put(store, "k", b"1", timeout_s=_SHORT_S),
            lambda: store.renew(lease.id, timeout_s=_SHORT_S),
            lambda: store.revoke(lease.id, timeout_s=_SHORT_S),
        ):
            async with OwnTime() as time:
                with pytest.raises(OutcomeUnknown):
                    await call()
            assert time.passed_s < _SHORT_S + 0.7


async def test_a_read_that_is_never_answered_is_unavailable() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        cluster.members[0].swallow(Read, AskTime)
        with pytest.raises(StoreUnavailable):
            await store.get("k", timeout_s=_SHORT_S)
        with pytest.raises(StoreUnavailable):
            await store.transact([], [Get("k")], timeout_s=_SHORT_S)
        with pytest.raises(StoreUnavailable):
            await store.server_time(timeout_s=_SHORT_S)


async def test_a_read_is_asked_again_over_broken_connections() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        broken = 0

        def fault(client: Client, request: Request) -> bool:
            nonlocal broken
            if isinstance(request, Read) and broken < 3:
                broken += 1
                hang_up(client)
                return True
            return False

        cluster.members[0].fault = fault
        assert await value(store, "k") == b"1"


async def test_a_change_that_was_given_up_is_not_applied_after_a_later_one() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"first")
        kept = cluster.members[0].swallow(Propose)
        with pytest.raises(OutcomeUnknown):
            await put(store, "k", b"given up", timeout_s=_SHORT_S)
        cluster.members[0].fault = lambda client, request: False
        await put(store, "k", b"later")
        await put(store, "other", b"")  # acknowledges all before it
        cluster.apply(kept[0])  # the copy arrives at last
        assert await value(store, "k") == b"later"


async def test_a_cancelled_change_leaves_the_session_usable() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"first")
        cluster.members[0].swallow(Propose)
        waiting = asyncio.create_task(put(store, "k", b"cancelled"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        cluster.members[0].fault = lambda client, request: False
        await put(store, "k", b"next")
        assert cluster.proposals[-1].acknowledged == cluster.proposals[-1].sequence - 1


async def test_what_a_deposed_leader_still_answers_is_not_sent_again() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        old = cluster.members[0]
        held: list[tuple[Client, Request]] = []

        def hold(client: Client, request: Request) -> bool:
            if isinstance(request, Propose):
                held.append((client, request))
            return isinstance(request, Propose)

        old.fault = hold
        change = asyncio.create_task(put(store, "k", b"1"))
        await eventually(lambda: bool(held))
        cluster.elect(cluster.members[1])
        assert await value(store, "first") == b""  # by now the store has left for the new leader
        [(client, request)] = held
        client.send(Done(id=request.id, result=cluster.apply(request)))
        assert await change
        assert writes(cluster) == 2


# Sessions


async def test_a_session_is_opened_once_and_numbers_its_changes() -> None:
    async with cluster_and_store() as (cluster, store):
        await asyncio.gather(*(put(store, f"k{n}", b"") for n in range(20)))
        assert sum(isinstance(proposal.command, OpenSession) for proposal in cluster.proposals) == 1
        changes = [proposal for proposal in cluster.proposals if isinstance(proposal.command, Transact)]
        assert sorted(change.sequence for change in changes) == list(range(1, 21))
        assert len({change.session for change in changes}) == 1
        await put(store, "k", b"")
        assert cluster.proposals[-1].acknowledged == 20


async def test_opening_a_session_may_be_repeated() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.members[0].apply_and_hang_up()
        assert await store.transact([Absent("k")], [Put("k", b"1")], timeout_s=_LONG_S) is not None
        opened = [proposal.command for proposal in cluster.proposals if isinstance(proposal.command, OpenSession)]
        assert len(opened) == 2 and len(set(opened)) == 1


async def test_a_session_that_cannot_be_opened_leaves_the_change_surely_undone() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.members[0].swallow(Propose)
        with pytest.raises(StoreUnavailable):
            await put(store, "k", b"1", timeout_s=_SHORT_S)


async def test_a_forgotten_session_is_replaced() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        cluster.machine = _begun_anew(cluster.machine.applied)
        assert await asyncio.gather(*(put(store, f"k{n}", b"") for n in range(5)))
        assert sum(isinstance(proposal.command, OpenSession) for proposal in cluster.proposals) == 2


async def test_a_session_that_ends_while_a_change_is_in_doubt_leaves_it_so() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")

        def fault(client: Client, request: Request) -> bool:
            if isinstance(request, Propose):
                cluster.apply(request)
                cluster.machine = _begun_anew(cluster.machine.applied)
                cluster.members[0].fault = lambda client, request: False
                hang_up(client)
            return isinstance(request, Propose)

        cluster.members[0].fault = fault
        with pytest.raises(OutcomeUnknown):
            await put(store, "k", b"2")
        assert await put(store, "k", b"3")


async def test_the_numbers_under_way_stay_within_what_members_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_WINDOW", 8)
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        kept = cluster.members[0].swallow(Propose)
        changes = [asyncio.create_task(put(store, f"k{n}", b"")) for n in range(30)]
        await eventually(lambda: len(kept) == 8)
        await asyncio.sleep(0.1)
        assert len(kept) == 8
        cluster.members[0].fault = lambda client, request: False
        await cluster.members[0].stop()
        await cluster.members[0].start()
        await asyncio.gather(*changes)
        ahead = [proposal.sequence - proposal.acknowledged for proposal in cluster.proposals if proposal.sequence]
        assert max(ahead) <= 8


async def test_members_that_keep_too_many_outcomes_are_asked_again() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "first", b"")
        left = 2

        def fault(client: Client, request: Request) -> bool:
            nonlocal left
            if not isinstance(request, Propose) or left == 0:
                return False
            left -= 1
            client.send(Done(id=request.id, result=TooManyOutstanding()))
            return True

        cluster.members[0].fault = fault
        await put(store, "k", b"1")
        assert cluster.proposals[-1].sequence == 2


async def test_a_full_store_is_unavailable_at_once() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.machine = StateMachine(capacity_bytes=10_000)
        with pytest.raises(StoreUnavailable, match="full"):
            await put(store, "k", bytes(20_000))
        assert await put(store, "k", b"small")


def _begun_anew(applied: int) -> StateMachine:
    """A state machine without sessions, that far in its log."""
    machine = StateMachine()
    for index in range(1, applied + 1):
        machine.apply(index, b"")
    return machine


# Watches


class Told:
    """What a watch tells, as it comes."""

    def __init__(self, store: Store, key: str, *, prefix: bool = False, after: int = 0) -> None:
        self.events: list[Changed | Resync] = []
        self._watch = store.watch(key, prefix=prefix, after=after)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._watch:
            self.events.append(event)

    def values(self) -> list[bytes | None]:
        return [event.entry.value if event.entry else None for event in self.events if isinstance(event, Changed)]

    async def until(self, *values: bytes | None) -> None:
        await eventually(lambda: self.values()[-len(values) :] == list(values))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def told(store: Store, key: str, *, prefix: bool = False, after: int = 0) -> AsyncIterator[Told]:
    watch = Told(store, key, prefix=prefix, after=after)
    try:
        yield watch
    finally:
        await watch.stop()


async def test_changes_are_told_with_the_stores_own_keys() -> None:
    async with cluster_and_store() as (cluster, store):
        after = await put(store, "q/a", b"0")
        async with told(store, "q/", prefix=True, after=after) as watch:
            await put(store, "q/a", b"1")
            await put(store, "r/a", b"1")
            await store.transact([], [Delete("q/a")], timeout_s=_LONG_S)
            await watch.until(None)
            last = watch.events[-1]
            assert isinstance(last, Changed) and last.key == "q/a" and last.revision == cluster.machine.applied


async def test_a_closed_watch_is_ended_at_the_leader() -> None:
    async with cluster_and_store() as (cluster, store):
        async with told(store, "k"):
            await eventually(lambda: len(cluster.watched) == 1)
        await eventually(lambda: cluster.watched == [])


async def test_watches_go_on_at_the_next_leader_without_a_gap_or_a_repetition() -> None:
    async with cluster_and_store() as (cluster, store), opened(cluster.url()) as other:
        numbers = [b"%d" % number for number in range(40)]
        keys = [f"k/{number}" for number in range(40)]
        async with told(store, "k/", prefix=True) as watch:
            for number, key in enumerate(keys):
                await put(other, key, numbers[number])
                if number % 7 == 3:
                    cluster.elect(cluster.members[number % 3])
                if number % 11 == 5:
                    assert cluster.leader is not None
                    for each in list(cluster.watched):
                        hang_up(each.client)
            await watch.until(numbers[-1])
            assert watch.values() == numbers


async def test_a_watch_leaves_a_frozen_leader() -> None:
    async with cluster_and_store() as (cluster, store), opened(cluster.url()) as other, told(store, "k") as watch:
        await put(other, "k", b"1")
        await watch.until(b"1")
        cluster.members[0].mute = True
        cluster.elect(cluster.members[1])
        await put(other, "k", b"2")
        await watch.until(b"1", b"2")


async def test_a_request_that_finds_a_new_leader_takes_the_watches_along() -> None:
    async with cluster_and_store() as (cluster, store), told(store, "k") as watch:
        await eventually(lambda: len(cluster.watched) == 1)
        # Its predecessor forgets to end the watch.
        cluster.watched.clear()
        cluster.elect(cluster.members[1])
        await put(store, "k", b"1")
        await watch.until(b"1")


async def test_missed_changes_are_said_to_be_missed() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.machine = StateMachine(history_max=5)
        for number in range(30):
            await put(store, "k", b"%d" % number)
        async with told(store, "k", after=3) as watch:
            await eventually(lambda: bool(watch.events))
            assert watch.events == [Resync(cluster.machine.applied)]
            await put(store, "k", b"new")
            await watch.until(b"new")


async def test_a_slow_consumer_gets_the_last_of_many_changes() -> None:
    async with cluster_and_store() as (cluster, store):
        watch = store.watch("k", after=0)
        first = asyncio.ensure_future(anext(watch))
        await put(store, "k", b"first")
        await first
        for number in range(100):
            await put(store, "k", b"%d" % number)
        await eventually(lambda: cluster.machine.applied > 100)
        change = await anext(watch)
        assert isinstance(change, Changed) and change.entry is not None and change.entry.value == b"99"
        await watch.aclose()  # type: ignore[attr-defined]


async def test_a_watch_that_cannot_be_taken_on_is_tried_again() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.members[0].refuse(Problem.UNAVAILABLE, Watch, count=2)
        async with told(store, "k") as watch:
            await put(store, "k", b"1")
            await watch.until(b"1")


async def test_closing_the_store_ends_its_watches() -> None:
    async with cluster_and_store() as (_, store):
        watch = Told(store, "k")
        never = Told(store, "", prefix=True)
        await asyncio.sleep(0.05)
        await store.aclose()
        async with asyncio.timeout(_LONG_S):
            await asyncio.gather(watch.task, never.task)


# Closing, forks, opening


async def test_requests_under_way_fail_when_the_store_is_closed() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        cluster.members[0].swallow(Propose, Read)
        change = asyncio.create_task(put(store, "k", b"2"))
        read = asyncio.create_task(store.get("k", timeout_s=_LONG_S))
        await asyncio.sleep(0.05)
        async with OwnTime() as time:
            await store.aclose()
            with pytest.raises(OutcomeUnknown):
                await change
            with pytest.raises(StoreUnavailable):
                await read
        assert time.passed_s < 1
        for call in (lambda: put(store, "k", b""), lambda: store.get("k", timeout_s=_LONG_S)):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call()


async def test_closing_ends_a_search() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.elect(None)
        read = asyncio.create_task(store.get("k", timeout_s=_LONG_S))
        await asyncio.sleep(0.2)
        async with OwnTime() as time:
            await store.aclose()
            with pytest.raises(StoreUnavailable):
                await read
        assert time.passed_s < 1


def test_a_child_forked_from_the_opener_is_refused() -> None:
    store = raft.open_store(parse("raft://127.0.0.1:1/p"))

    async def child() -> bool:
        try:
            await store.get("k", timeout_s=5)
        except StoreUnavailable as error:
            await store.aclose()
            return "fork" in str(error)
        return False

    pid = os.fork()
    if pid == 0:
        refused = False
        try:
            refused = asyncio.run(child())
        finally:
            os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("raft:///p", "store URL"),
        ("raft://user@h/p", "store URL"),
        ("raft://:secret@h/p", "store URL"),
        ("raft://h/p?cacert=x", "store URL"),
        ("raft://h/p?ca=x", "ca"),
        ("raft+tls://h/p?ca=x", "cert"),
        ("raft+tls://h/p?cert=x", "key"),
        ("raft+tls://h/p?cert=/none&key=/none", "cert"),
        ("raft+tls://h/p?ca=/none&cert=/none&key=/none", "ca"),
    ],
)
def test_a_url_that_will_not_do_is_refused_naming_what_is_wrong(url: str, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        raft.open_store(parse(url))
    assert refused.value.field == field
    assert "secret" not in str(refused.value)


def test_the_port_is_the_one_that_members_listen_on() -> None:
    from leasekit.backends.raft.client import settings
    from leasekit.backends.raft.member.config import DEFAULT_PORT

    assert settings.DEFAULT_PORT == DEFAULT_PORT
    assert settings.read(parse("raft://h,h2:1,h/p")).addresses == (f"h:{DEFAULT_PORT}", "h2:1")


# What doctor is told


async def warned(store: Store, *words: str) -> None:
    """A probe warns of all these; it takes all its time here, so it is given little unless the machine is busy."""
    timeout_s = 0.5
    while True:
        warnings = (await store.probe(timeout_s=timeout_s)).warnings
        if all(any(word in warning for warning in warnings) for word in words):
            return
        timeout_s *= 2
        assert timeout_s <= _LONG_S, warnings


async def test_a_healthy_cluster_gives_no_warnings() -> None:
    async with cluster_and_store() as (cluster, store):
        await put(store, "k", b"1")
        health = await store.probe(timeout_s=_LONG_S)
        assert health.warnings == ()
        assert [endpoint.endpoint for endpoint in health.endpoints] == [member.address for member in cluster.members]
        assert [endpoint.is_store_leader for endpoint in health.endpoints] == [True, False, False]
        assert all(endpoint.error is None and endpoint.version == "1.2.3" for endpoint in health.endpoints)
        assert health.details["leader"] == "a"


async def test_members_beyond_the_url_are_looked_at_too() -> None:
    async with fake_cluster() as cluster, opened(cluster.url(members=cluster.members[1:2])) as store:
        health = await store.probe(timeout_s=_LONG_S)
        assert {endpoint.endpoint for endpoint in health.endpoints} == {member.address for member in cluster.members}


@pytest.mark.parametrize(
    ("names", "warning"), [(("a",), "one voter"), (("a", "b"), "2 voters"), (("a", "b", "c", "d"), "4 voters")]
)
async def test_a_number_of_voters_that_is_unwise_is_warned_of(names: tuple[str, ...], warning: str) -> None:
    async with cluster_and_store(*names) as (_, store):
        [said] = (await store.probe(timeout_s=_LONG_S)).warnings
        assert warning in said


async def test_a_member_that_is_down_is_named() -> None:
    async with cluster_and_store() as (cluster, store):
        await cluster.members[2].stop()
        health = await store.probe(timeout_s=_LONG_S)
        assert [endpoint.error for endpoint in health.endpoints] == [None, None, "connection refused"]
        assert any("Member c" in warning for warning in health.warnings)


async def test_a_cluster_without_a_leader_is_said_to_be_so() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.elect(None)
        await warned(store, "knows no leader", "must be current")


async def test_addresses_of_different_clusters_are_said_to_be_so() -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(fake_cluster("a", "b", "c"))
        stranger = await stack.enter_async_context(fake_cluster("x", "y", "z", id="another"))
        store = await stack.enter_async_context(opened(cluster.url(members=[*cluster.members, *stranger.members])))
        await warned(store, "different clusters")


async def test_no_encryption_beyond_this_machine_is_warned_of() -> None:
    async with cluster_and_store() as (cluster, store):
        cluster.membership = Membership(voters={"a": cluster.members[0].address, "b": "192.0.2.1:7001"})
        await warned(store, "192.0.2.1:7001 is not encrypted")


async def test_a_closed_store_still_says_how_the_cluster_is() -> None:
    async with cluster_and_store() as (_, store):
        await store.aclose()
        assert (await store.probe(timeout_s=_LONG_S)).reachable
