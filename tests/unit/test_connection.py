"""What one store URL stands for in a process: opened without I/O, shared, closed in bounded time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from pathlib import Path

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.connection import Connection, shared
from leasekit.election import ElectionCore
from leasekit.errors import ConfigError, LossReason
from support.faulty import Faulty


def close(connection: Connection, timeout_s: float = 5.0) -> None:
    engine.get().run(connection.aclose(timeout_s=timeout_s))


@pytest.mark.parametrize("url", ["etcd://127.0.0.1:1", "consul://127.0.0.1:1", "memory://", "sqlite:///{tmp}/a/b.db"])
def test_opening_does_no_io(url: str, tmp_path: Path) -> None:
    connection = Connection(url.format(tmp=tmp_path))
    core = ElectionCore("reports", connection=connection, id=None, ttl_s=15, priority=0, meta=None)
    assert core.id
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scheme_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no store is known for zookeeper://; known: .*etcd.*memory"):
        Connection("zookeeper://h")


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEKIT_STORE", "memory://from-environment")
    connection = Connection(None)
    assert connection.url == "memory://from-environment"
    assert not connection.is_default
    assert Connection("memory://given").url == "memory://given"


@pytest.mark.parametrize("value", ["", None])
def test_without_any_name_the_user_s_own_file_is_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LEASEKIT_STORE", raising=False)
    if value is not None:
        monkeypatch.setenv("LEASEKIT_STORE", value)
    connection = Connection(None)
    assert connection.is_default
    assert connection.url.startswith("sqlite://")


def test_a_connection_that_was_closed_says_so() -> None:
    connection = Connection("memory://")
    close(connection)
    close(connection)
    with pytest.raises(ConfigError, match="connect anew"):
        _ = connection.store


def test_connections_of_one_url_are_shared_until_they_are_closed() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    first = shared(url)
    assert shared(url) is first
    assert shared(url + "-other") is not first
    close(first)
    assert shared(url) is not first


def test_keepers_are_shared_by_ttl() -> None:
    with leasekit.connect(f"memory://{uuid.uuid4().hex}") as store:
        held = [
            leasekit.Election(name, store, ttl_s=ttl_s).campaign() for name, ttl_s in [("a", 5), ("b", 5), ("c", 7.5)]
        ]
        assert sorted(store.connection._keepers) == [5, 7.5]
        for leadership in held:
            leadership.resign()


@pytest.mark.parametrize("timeout_s", [0.5, 2.0])
def test_closing_ends_in_time_though_the_store_hangs(timeout_s: float) -> None:
    faulty = Faulty(f"memory://{uuid.uuid4().hex}")
    leaderships = [leasekit.Election(f"e{number}", faulty.store).campaign() for number in range(20)]
    faulty.order("go_down", silent=True)
    began = time.monotonic()
    faulty.store.close(timeout_s=timeout_s)
    # A machine that is busy may hold it up for a while; what hung would take the 5 s of a release, or the lease's 15.
    assert time.monotonic() - began < timeout_s + 3
    assert {leadership.reason for leadership in leaderships} == {LossReason.CLOSED}


def test_a_pause_while_the_store_is_closed_leaves_nothing_of_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty, closed = Faulty(f"memory://{uuid.uuid4().hex}"), threading.Event()

    async def aclose() -> None:
        time.sleep(0.7)  # noqa: ASYNC251 (as if the process had been stopped for all the time that this may take)
        for _ in range(5):
            await asyncio.sleep(0)
        closed.set()

    monkeypatch.setattr(faulty.network, "aclose", aclose)
    faulty.store.close(timeout_s=1)
    assert closed.is_set()


def test_closing_lets_others_lead_at_once() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    with leasekit.connect(url) as other:
        store = leasekit.connect(url)
        leadership = leasekit.Election("reports", store, ttl_s=60).campaign()
        outcome = engine.get().submit(
            ElectionCore("reports", connection=other.connection, id=None, ttl_s=60, priority=0, meta=None).campaign(
                None
            )
        )
        while len(leasekit.Election("reports", other).candidates()) < 2:
            time.sleep(0.01)
        store.close()
        successor = outcome.result(30)  # half the ttl
        assert leadership.reason is LossReason.CLOSED
        assert successor.token > leadership.token


def test_a_ttl_that_the_store_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="this store takes") as refused:
        leasekit.Election("reports", "consul://127.0.0.1:1", ttl_s=0.5)
    assert refused.value.field == "ttl_s"


def test_a_made_id_is_host_process_and_chance() -> None:
    elections = [leasekit.Election("reports", "memory://") for _ in range(50)]
    ids = {election.id for election in elections}
    assert len(ids) == 50
    assert all(f"-{os.getpid()}-" in id for id in ids)
    assert elections[0].id == elections[0].id


async def test_one_process_may_use_both_faces_of_one_store() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    with leasekit.connect(url) as store:
        async with leasekit.aio.Election("reports", leasekit.aio.ConnectedStore(store.connection)).campaign() as held:
            leader = await asyncio.to_thread(leasekit.Election("reports", store).leader)
            assert leader is not None
            assert leader.token == held.token


async def test_closing_goes_on_when_whoever_waits_for_it_is_cancelled() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    store = aio.connect(url)
    async with aio.connect(url) as elsewhere:
        leadership = await aio.Election("reports", store, ttl_s=60).campaign()
        hold = threading.Event()
        engine.get().call(hold.wait, 30)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        hold.set()
        # Long before its lease runs out.
        async with aio.Election("reports", elsewhere, ttl_s=60).campaign(timeout_s=30):
            assert not leadership.valid
