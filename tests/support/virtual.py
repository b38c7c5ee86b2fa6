"""Processes of one election on virtual time: a memory store that they share, each with a network and a lease of its own.

@virtual
async def test_something(world: World) -> None:
    one, two = world.process(), world.process()
    leading = await one.candidate("a").campaign(once=False, timeout_s=5)
    one.network.go_down()
    await world.pass_time(20)
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from leasekit.backends.memory import MemoryStore
from leasekit.core.contest import Setup
from leasekit.core.records import Keys
from leasekit.elector import Elector
from leasekit.history import History
from leasekit.journal import OFF, Journal
from leasekit.keeper import Keeper
from leasekit.store import Delete, Entry, Lease, Put
from leasekit.tenure import Tenure
from leasekit.testing import FaultyStore, ManualClock, Request, run_virtual

TTL_S = 15.0
ELECTION = "reports"


class Process:
    """What one process has on one store: its network, its keeper, its candidates."""

    def __init__(self, world: World, ttl_s: float, journal: Journal) -> None:
        self.network = FaultyStore(MemoryStore(world.name, world.clock))
        self.keeper = Keeper(self.network, ttl_s, clock=world.clock, random=world.random, journal=journal)
        self._journal = journal
        self._world = world
        self._histories: dict[str, History] = {}

    def candidate(
        self, id: str, election: str = ELECTION, *, priority: int = 0, compares_empty: bool = True
    ) -> Elector:
        """A candidate on this process's lease."""
        setup = Setup(Keys(election), id, "host", 1, priority, compares_empty)
        history = self._histories.setdefault(election, History(setup.keys, self.network, self._world.clock))
        return Elector(
            setup,
            self.network,
            self.keeper,
            history,
            clock=self._world.clock,
            random=self._world.random,
            journal=self._journal,
        )

    async def keeper_lease(self) -> Lease:
        """The lease of this process, fresh."""
        await self.keeper.fresh()
        assert self.keeper.belief.lease_id is not None
        return Lease(self.keeper.belief.lease_id, self.keeper.belief.ttl_s)

    async def leader(self, id: str, election: str = ELECTION) -> tuple[Elector, Tenure]:
        """A candidate that has been elected."""
        elector = self.candidate(id, election)
        tenure = await elector.campaign(once=False, timeout_s=None)
        assert tenure is not None
        return elector, tenure


class World:
    """The store, the clock, and whoever takes part."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.random = Random(1)
        self.name = f"world-{uuid.uuid4().hex}"
        self.store = MemoryStore(self.name, clock)
        self.faults: list[dict[str, Any]] = []
        """What the loop's exception handler was told: tasks that died unseen."""

    def process(self, ttl_s: float = TTL_S, journal: Journal = OFF) -> Process:
        """Another process."""
        return Process(self, ttl_s, journal)

    async def pass_time(self, duration_s: float) -> None:
        """Let this much time pass, and everything happen that is due in it."""
        await asyncio.sleep(duration_s)

    async def until(self, condition: Callable[[], bool], *, limit_s: float = 600.0) -> float:
        """Let time pass until `condition` holds; returns how many seconds it took."""
        began = self.clock.now()
        while not condition():
            assert self.clock.now().boot_s - began.boot_s < limit_s, f"not so within {limit_s:g} s"
            await asyncio.sleep(0.01)
        return self.clock.now().boot_s - began.boot_s

    async def get(self, key: str) -> Entry | None:
        """What the store really has, whatever the networks do."""
        return await self.store.get(key, timeout_s=1)

    async def keys(self, prefix: str = "") -> list[str]:
        """The keys that the store really has."""
        return [entry.key for entry in (await self.store.scan(prefix, timeout_s=1)).entries]


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on virtual time, with a `World` as its first argument. A task that dies unseen fails it."""
    signature = inspect.signature(test)

    def run(**given: Any) -> None:
        clock = ManualClock()
        world = World(clock)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: world.faults.append(context))
            await test(world, **given)

        run_virtual(main(), clock)
        assert not world.faults, world.faults

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run


def writes(key: str) -> Callable[[Request], bool]:
    """For `FaultyStore.inject(when=...)`: a transaction that puts or deletes `key`."""
    return lambda request: any(isinstance(op, Put | Delete) and op.key == key for op in request.ops)
