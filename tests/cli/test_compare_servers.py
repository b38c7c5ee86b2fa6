"""The servers and workers of `leasekit compare`: started, and in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from leasekit.cli.compare.children import ChildEnded, Children, Worker, WorkerFault
from leasekit.cli.compare.play import Play, side_by_side
from leasekit.cli.compare.servers import KINDS, PortTaken, Servers
from leasekit.cli.compare.stage import Stage
from leasekit.errors import StoreUnavailable
from support.binaries import require

PROGRAMS = {"etcd": ("etcd-3.5", "etcd"), "consul": ("consul", "consul")}


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def servers(name: str, folder: Path, children: Children) -> Servers:
    kind, size, _ = KINDS[name]
    program = None if kind.program is None else require(*PROGRAMS[kind.program])
    return kind(size, folder, children, program, random.Random(os.getpid()))


def worker(children: Children, folder: Path) -> Worker:
    environment = {**os.environ, "LEASEKIT_STORE": f"sqlite:///{folder / 'leases.db'}"}
    return children.worker("one", folder / "worker.log", environment)


async def until_ended(group: Servers) -> None:
    async with asyncio.timeout(60):
        while True:
            group.check()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["etcd1", "consul1", "raft3"])
async def test_a_port_that_was_taken_meanwhile_is_told_from_other_trouble(
    name: str, tmp_path: Path, children: Children
) -> None:
    group = servers(name, tmp_path, children)
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", group.port(0)))
        taker.listen()
        group.start(0)
        with pytest.raises(PortTaken, match="ended by itself"):
            await until_ended(group)


async def test_what_a_server_said_when_it_ended_is_told(tmp_path: Path, children: Children) -> None:
    group = servers("raft3", tmp_path, children)
    group.data(0).write_text("a file where its folder should be")
    group.start(0)
    with pytest.raises(StoreUnavailable, match=r"Directory .* is a file") as told:
        await until_ended(group)
    assert not isinstance(told.value, PortTaken)


async def test_requests_to_a_worker_run_side_by_side(tmp_path: Path, children: Children) -> None:
    one = worker(children, tmp_path)
    leads = await one.ask("campaign", election="e", ttl_s=5, timeout_s=60)
    assert leads["token"] > 0
    await one.ask("watch", key="k")
    seen = one.send("seen", key="k", value="v", timeout_s=60)
    put = await one.ask("put", key="k", value="v")
    assert (await seen)["at"] > put["at"]


async def test_an_error_of_the_store_and_a_fault_of_ours_are_told_apart(tmp_path: Path, children: Children) -> None:
    one = worker(children, tmp_path)
    await one.ask("watch", key="k")
    with pytest.raises(StoreUnavailable, match="has not told"):
        await one.ask("seen", key="k", value="never", timeout_s=0.01)
    with pytest.raises(WorkerFault, match="KeyError"):
        await one.ask("seen", key="never watched", value="v", timeout_s=1)


async def test_whoever_waits_for_a_worker_hears_of_its_end(tmp_path: Path, children: Children) -> None:
    one = worker(children, tmp_path)
    await one.ask("watch", key="k")
    waiting = one.send("seen", key="k", value="never", timeout_s=60)
    one.process.kill()
    with pytest.raises(ChildEnded):
        await waiting
    with pytest.raises(ChildEnded):
        await one.ask("probe")


async def test_a_worker_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, children: Children) -> None:
    one = worker(children, tmp_path)
    one.pause()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await one.ask("probe", within_s=0.1)


async def test_the_first_of_several_that_fails_ends_the_others() -> None:
    ended = []

    async def go_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise StoreUnavailable("as it happens")

    with pytest.raises(StoreUnavailable, match="as it happens"):
        await side_by_side(go_on(), fail(), go_on())
    assert ended == [True, True]


async def test_a_leader_that_lost_its_lease_before_is_no_sample(tmp_path: Path, children: Children) -> None:
    stage = Stage(f"sqlite:///{tmp_path / 'l.db'}", None, children=children, folder=tmp_path, ttl_s=5, mark="m")
    with contextlib.closing(stage):
        play = Play(stage, 1)
        play.record_wait("handover_s", 10.0, {"at": 10.5})
        play.record_wait("handover_s", 10.0, {"at": 9.0})
    assert play.samples == {"handover_s": [0.5]}
    assert play.lapsed == 1


async def test_nothing_is_left_of_what_was_started(tmp_path: Path) -> None:
    with Children() as children:
        group = servers("raft3", tmp_path, children)
        group.start_all()
        one = worker(children, tmp_path)
        one.pause()
        pids = [*group.pids, one.pid]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
