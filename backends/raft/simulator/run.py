"""One run: first harm and checks, then healing, after which everything has to work again."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from leasekit.backends.raft.kv.commands import Transact
from leasekit.backends.raft.simulator import models
from leasekit.backends.raft.simulator.clients import Client, Denied, Does, Unsettled
from leasekit.backends.raft.simulator.faults import Nemesis, Operator
from leasekit.backends.raft.simulator.invariants import Violation, ensure
from leasekit.backends.raft.simulator.linearizability import check
from leasekit.backends.raft.simulator.world import World
from leasekit.store import Get, Put

LIVENESS_S = 60.0
"""So long after healing everything must work again. Virtual seconds; a run ends as soon as it does."""
SEARCH_STEPS = 200_000
PROBES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one seed. `violation` is None if all was well."""

    seed: int
    digest: str
    """Of everything that happened, in order: the same for the same seed and the same code."""
    counts: Counter[str] = field(default_factory=Counter)
    violation: str | None = None
    trace: tuple[str, ...] = ()
    """The last things that happened before a violation."""


class Probe(Client):
    """After healing: ten writes and ten reads, each of which must be served."""

    def __init__(self, world: World) -> None:
        self.finished = False
        super().__init__("probe", world, world.rng)

    def life(self) -> Does:
        for number in range(PROBES):
            value = f"probe:{number}".encode()
            while True:
                try:
                    yield from self.perform(Transact((), (Put("probe", value),)), tries=100)
                    committed = yield from self.read(Get("probe"), tries=100)
                    break
                except (Unsettled, Denied):
                    continue
            ensure(committed.reads[0][0].value == value, "a read after a write does not show it", committed, value)
        self.finished = True


def simulate(seed: int, *, tell: Callable[[str], None] | None = None) -> Result:
    """Run `seed` to its end. `tell` is given a line for each thing that happens."""
    world = None
    violation = None
    try:
        world = World(seed, tell)
        _run(world)
    except Violation as error:
        violation = str(error)
    except Exception:  # noqa: BLE001  # the code under test has stumbled, perhaps over one of its own assertions
        violation = traceback.format_exc()
    if world is None:
        return Result(seed=seed, digest="", violation=violation)
    counts = world.counts
    counts["split votes"] = world.invariants.split_votes()
    counts["steps"] = world.schedule.steps
    counts["entries committed"] = world.reference.applied
    counts["messages lost"] = world.network.lost
    return Result(
        seed=seed,
        digest=world.trace.digest,
        counts=counts,
        violation=violation,
        trace=tuple(world.trace.last()) if violation else (),
    )


def _run(world: World) -> None:
    nemesis = Nemesis(world, world.new_rng())
    operator = Operator("operator", world, world.new_rng())
    _until(world, world.settings.safety_s)
    nemesis.stop()
    operator.stopping = True
    _check_liveness(world)
    _check_history(world)


def _until(world: World, time_s: float) -> None:
    schedule = world.schedule
    while (next_s := schedule.next_s()) is not None and next_s <= time_s:
        schedule.step()


def _check_liveness(world: World) -> None:
    core = world.heal()
    deadline_s = world.schedule.now_s + LIVENESS_S
    probe = Probe(world)
    while not probe.finished:
        if world.schedule.now_s >= deadline_s:
            raise Violation(f"no progress after healing: {_picture(world)}")
        world.schedule.step()
    for client in world.clients:
        client.stopping = True
    while world.reference.leases or not _converged(world, core):
        # Nobody renews any more, so that all leases end.
        if world.schedule.now_s >= deadline_s:
            what = "leases do not end" if world.reference.leases else "members do not catch up"
            raise Violation(f"{what} after healing: {world.reference.leases} {_picture(world)}")
        world.schedule.step()


def _converged(world: World, core: list[str]) -> bool:
    """Whether all members that run have applied everything."""
    last = world.reference.applied
    return all(
        (server := world.machines[name].server) is not None and server.machine.applied == last
        for name in core
        if name in world.membership and name in world.machines
    )


def _picture(world: World) -> list[object]:
    return [view for name, view in world.views.items() if name in world.machines and world.machines[name].server]


def _check_history(world: World) -> None:
    verdict = check(models.register, world.history, max_steps=SEARCH_STEPS)
    ensure(verdict.linearizable is not False, "a history is not linearizable", verdict)
    world.counts["histories not decided"] += verdict.linearizable is None
    world.counts["operations"] += len(world.history)
