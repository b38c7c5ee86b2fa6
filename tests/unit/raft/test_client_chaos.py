"""The Raft store while everything goes wrong at once: what it says of a change is true, whatever happened to its copies."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from leasekit.backends.raft import open_store
from leasekit.backends.raft.requests import NotLeader, Problem, Propose, Refused, Request
from leasekit.backends.raft.transport import Client
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Changed, Put, Store
from leasekit.urls import parse
from support.raft_fake import FakeCluster, fake_cluster, hang_up

_CHANGES = 60
_CLIENTS = 3
_LATE_S = 0.4
_ROUNDS = 10
"""One is enough, unless the machine is so busy that next to nothing goes well."""


class Chaos:
    """Does one of many things to each change that a member is asked for."""

    def __init__(self, cluster: FakeCluster, seed: int) -> None:
        self._cluster = cluster
        self._chance = random.Random(seed)
        self.calm = False
        self.late = 0
        """Copies that are still to be applied."""

    def __call__(self, client: Client, request: Request) -> bool:
        if self.calm or not isinstance(request, Propose) or self._chance.random() < 0.4:
            return False
        applied = self._chance.choice(["now", "late", "never"])
        if applied == "now":
            self._cluster.apply(request)
        elif applied == "late":
            self.late += 1
            asyncio.get_running_loop().call_later(self._chance.random() * _LATE_S, self._apply_late, request)
        said = self._chance.choice(
            ["nothing", "unknown", "hang up", "new leader"] + (["no"] if applied == "never" else [])
        )
        if said == "unknown":
            client.send(Refused(id=request.id, problem=Problem.UNKNOWN, text="who knows"))
        elif said == "no":
            self._say_no(client, request)
        elif said != "nothing":
            if said == "new leader":
                self._cluster.elect(self._chance.choice(self._cluster.members))
            hang_up(client)
        return True

    def _say_no(self, client: Client, request: Request) -> None:
        if self._chance.random() < 0.5:
            client.send(Refused(id=request.id, problem=Problem.UNAVAILABLE, text="not now"))
        else:
            client.send(NotLeader(id=request.id, leader=None))

    def _apply_late(self, request: Request) -> None:
        self.late -= 1
        self._cluster.apply(request)


async def _change(store: Store, key: str, said: dict[str, int | str], chance: random.Random) -> None:
    await asyncio.sleep(chance.random() * 2)
    try:
        committed = await store.transact([Absent(key)], [Put(key, b"")], timeout_s=chance.choice([0.05, 0.3, 2.0]))
    except OutcomeUnknown:
        said[key] = "unknown"
    except StoreUnavailable:
        said[key] = "never"
    else:
        said[key] = "refused" if committed is None else committed.revision


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_said_of_a_change_is_true(seed: int) -> None:
    chance = random.Random(seed)
    said: dict[str, int | str] = {}
    told: list[Changed] = []
    async with fake_cluster() as cluster, AsyncExitStack() as stack:
        chaos = Chaos(cluster, seed)
        for member in cluster.members:
            member.fault = chaos
        stores = [open_store(parse(cluster.url())) for _ in range(_CLIENTS)]
        for store in stores:
            stack.push_async_callback(store.aclose)

        async def watch() -> None:
            async for event in stores[0].watch("k", prefix=True, after=0):
                assert isinstance(event, Changed)
                told.append(event)

        watching = asyncio.create_task(watch())
        for round in range(_ROUNDS):
            keys = [f"k{round}/{number}" for number in range(_CHANGES)]
            await asyncio.gather(
                *(_change(stores[number % _CLIENTS], key, said, chance) for number, key in enumerate(keys))
            )
            if _means_something(said):
                break
        chaos.calm = True
        async with asyncio.timeout(30):
            while chaos.late:
                await asyncio.sleep(0.01)
            snapshot = await stores[1].scan("k", timeout_s=30)
            while {change.key for change in told} != {entry.key for entry in snapshot.entries}:
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    revisions = {entry.key: entry.revision for entry in snapshot.entries}
    assert "refused" not in said.values(), "a copy of its own was in the way"
    assert {key: revisions.get(key) for key, what in said.items() if isinstance(what, int)} == {
        key: what for key, what in said.items() if isinstance(what, int)
    }
    assert [key for key, what in said.items() if what == "never" and key in revisions] == []
    assert [(change.key, change.revision) for change in told] == sorted(revisions.items(), key=lambda item: item[1])
    assert _means_something(said), said


def _means_something(said: dict[str, int | str]) -> bool:
    """Whether enough went well, and enough wrong."""
    return sum(isinstance(what, int) for what in said.values()) > _CHANGES / 10 and "unknown" in said.values()
