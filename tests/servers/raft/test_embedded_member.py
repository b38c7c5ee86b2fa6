"""Members within the test's own process: inside a loop or in a thread, with disks that fail and loops that stall."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from leasekit.backends.raft import open_store
from leasekit.backends.raft.client.channel import Channel
from leasekit.backends.raft.core.types import Role, Write
from leasekit.backends.raft.kv.commands import OpenSession, Proposal, encode
from leasekit.backends.raft.member import Member, MemberConfig, MemberThread, Timing
from leasekit.backends.raft.member.driver import OUTSTANDING_MAX
from leasekit.backends.raft.requests import Done, NotLeader, Problem, Propose, Read, Refused, TakeSnapshot
from leasekit.backends.raft.transport import Client
from leasekit.backends.raft.transport.outgoing import dial
from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull
from leasekit.backends.raft.wal.log import Wal
from leasekit.errors import ConfigError
from leasekit.store import Get, Put
from leasekit.urls import parse
from support.ports import Reservation

FAST = Timing(heartbeat_ms=50, election_ms=250)
UNHURRIED = Timing(heartbeat_ms=50, election_ms=1250)
"""A hand-over is waited for twice as long as an election takes at least, and half of what `stop` may take."""
PATIENCE_S = 60.0


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """Three members and where they will listen."""
    reservation = Reservation(3)
    yield {f"m{i}": f"127.0.0.1:{port}" for i, port in enumerate(reservation.ports)}
    reservation.release()


@pytest.fixture
def alone(tmp_path: Path, addresses: dict[str, str]) -> MemberConfig:
    """A cluster of one member."""
    return MemberConfig(id="m0", data_dir=tmp_path / "m0", initial={"m0": addresses["m0"]}, timing=FAST)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def leads(member: Member | MemberThread) -> bool:
    raft = member.status().raft
    return raft.role is Role.LEADER and raft.commit >= 1


@contextlib.asynccontextmanager
async def three(tmp_path: Path, addresses: dict[str, str], timing: Timing = FAST) -> AsyncIterator[list[Member]]:
    """Three members in this loop, one of which leads."""
    async with contextlib.AsyncExitStack() as stack:
        members = []
        for name in addresses:
            config = MemberConfig(id=name, data_dir=tmp_path / name, initial=addresses, timing=timing)
            members.append(await stack.enter_async_context(Member(config)))
        await until(lambda: any(map(leads, members)))
        yield members


@contextlib.asynccontextmanager
async def line(member: Member) -> AsyncIterator[Channel]:
    """A client's connection, which is not given up while this loop, with the member in it, is held up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leasekit.backends.raft.client.channel._SILENCE_S", PATIENCE_S)
        channel = await dial(member.address, lambda: Channel(member.address, ""), None, timeout_s=PATIENCE_S)
        try:
            yield channel
        finally:
            channel.abort()
            await asyncio.sleep(0)


def break_disk(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, of: Member) -> None:
    storage = of._storage
    assert storage is not None
    intact = Wal.write_all

    def write_all(self: Wal, writes: Sequence[Write], *, durable: Callable[[], None] | None = None) -> None:
        if self is storage._wal:
            raise error
        intact(self, writes, durable=durable)

    monkeypatch.setattr(Wal, "write_all", write_all)


async def test_a_member_serves_within_a_users_own_loop(alone: MemberConfig) -> None:
    async with Member(alone) as member:
        store = open_store(parse(f"raft://{member.address}"))
        try:
            assert await store.transact([], [Put("key", b"value", None)], timeout_s=PATIENCE_S)
        finally:
            await store.aclose()
    async with Member(alone) as member:
        await until(lambda: leads(member))
        assert member.status().raft.term == 2, "it found its data again"


def test_a_member_serves_in_a_thread_of_its_own(alone: MemberConfig) -> None:
    with MemberThread(alone, version="9.9") as member:
        give_up = time.monotonic() + PATIENCE_S
        while not leads(member):
            assert time.monotonic() < give_up
        assert member.status().version == "9.9"
        assert member.address == alone.address
        assert member.failure is None


def test_what_keeps_a_member_from_starting_is_raised_from_its_thread_as_well(alone: MemberConfig) -> None:
    with MemberThread(alone), pytest.raises(ConfigError, match="in use by another member"):
        MemberThread(alone).start()


async def test_a_leader_that_stops_has_a_successor_at_once(tmp_path: Path, addresses: dict[str, str]) -> None:
    async with three(tmp_path, addresses, UNHURRIED) as members:
        [leader] = filter(leads, members)
        term = leader.status().raft.term
        await leader.stop()
        successors = [member for member in members if member is not leader and leads(member)]
        assert [member.status().raft.term > term for member in successors] == [True], "elected before it had gone"


async def test_a_disk_that_fails_ends_one_members_part_and_no_more(
    tmp_path: Path, addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with three(tmp_path, addresses) as members:
        [leader] = filter(leads, members)
        break_disk(monkeypatch, DiskFull("no space left"), of=leader)
        store = open_store(parse(f"raft://{','.join(addresses.values())}"))
        try:
            # Whoever was told to wait hears of it, and the others go on.
            assert await store.transact([], [Put("key", b"value", None)], timeout_s=PATIENCE_S)
        finally:
            await store.aclose()
        with pytest.raises(DiskFull):
            await leader.ended()
        assert leader.failure == "no space left"
        assert not leads(leader)
        async with line(leader) as channel:
            assert (await channel.status()).failure == "no space left"
            elsewhere = await channel.ask(lambda number: Read(id=number, compares=(), ops=(Get("key"),)))
            assert isinstance(elsewhere, NotLeader)
            refused = await channel.ask(lambda number: TakeSnapshot(id=number))
            assert isinstance(refused, Refused)
            assert (refused.problem, refused.text) == (Problem.UNAVAILABLE, "no space left")
        said = [record for record in caplog.records if "no space left" in record.getMessage()]
        assert len(said) == 1


async def test_a_log_that_fails_otherwise_is_a_fault_and_ends_the_member(
    alone: MemberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Member(alone) as member:
        await until(lambda: leads(member))
        break_disk(monkeypatch, ValueError("a hole in the log"), of=member)
        async with line(member) as channel:
            channel.send_body(channel.codec.encode_request(_write(1), channel.version))
            with pytest.raises(ValueError, match="a hole"):
                await member.ended()


async def test_a_failed_disk_is_not_tried_again_at_the_end(
    alone: MemberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Member(alone) as member:
        await until(lambda: leads(member))
        break_disk(monkeypatch, DiskFailed("input/output error"), of=member)
        async with line(member) as channel:
            channel.send_body(channel.codec.encode_request(_write(1), channel.version))
            with pytest.raises(DiskFailed):
                await member.ended()
    async with Member(alone) as member:
        await until(lambda: leads(member))
        # The disk failed before the entry was durable: it was never acknowledged, and is not there. Those that are
        # begin a term each.
        assert member.status().raft.last_index == member.status().raft.term == 2


async def test_a_client_that_asks_without_end_is_held_until_it_is_answered(
    alone: MemberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    async with Member(alone) as member:
        await until(lambda: leads(member))
        driver = member._driver
        assert driver is not None
        hold = driver._hold

        def noting(client: Client, asks_too_much: bool) -> None:
            held.append(asks_too_much)
            hold(client, asks_too_much)

        monkeypatch.setattr(driver, "_hold", noting)
        async with line(member) as channel:
            asked = [channel.ask(lambda n: Read(id=n, compares=(), ops=(Get("key"),))) for _ in range(6000)]
            answers = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)
        assert all(isinstance(answer, Done) for answer in answers), "none is refused, none is lost"
        assert held[:2] == [True, False]
        assert held[-1] is False
        assert len(answers) > OUTSTANDING_MAX


async def test_a_loop_that_stalls_is_one_tick_late_and_says_so(
    alone: MemberConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Member(alone) as member:
        await until(lambda: leads(member))
        assert member._driver is not None
        ticks: list[float] = []
        server = member._driver.server
        tick = server.tick

        def noting() -> None:
            ticks.append(time.monotonic())
            tick()

        monkeypatch.setattr(server, "tick", noting)
        with caplog.at_level(logging.WARNING, "leasekit.raft"):
            before = time.monotonic()
            time.sleep(0.5)  # noqa: ASYNC251 (this is what is tested)
            stalled_until = time.monotonic()
            await until(lambda: len(ticks) >= 3)
        assert ticks[0] >= stalled_until
        assert ticks[2] - ticks[0] >= 0.5 * FAST.tick_s, "those that were missed are not made up for"
        assert stalled_until - before >= 0.5
        assert "longer than a heartbeat" in caplog.text


def _write(number: int) -> Propose:
    return Propose(
        id=number, command=encode(Proposal(session=0, sequence=0, acknowledged=0, command=OpenSession(b"n")))
    )
