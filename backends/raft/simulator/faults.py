"""The nemesis: does one harm after the other, of the kinds that the run has, and undoes each after a while."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from leasekit.backends.raft.core.types import MemberId
from leasekit.backends.raft.requests import (
    AskStatus,
    ChangeMembership,
    MemberAction,
    Request,
    TakeSnapshot,
    TransferLeadership,
)
from leasekit.backends.raft.simulator.clients import Ask, Client, Does, Sleep
from leasekit.backends.raft.simulator.machine import Machine
from leasekit.backends.raft.simulator.network import partition
from leasekit.backends.raft.wal.errors import DiskFailed, DiskFull

if TYPE_CHECKING:
    from leasekit.backends.raft.simulator.world import World

VOTERS_MIN, VOTERS_MAX = 3, 7


class Nemesis:
    """Does harm until it is told to stop."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._stopped = False
        self._kinds: dict[str, Callable[[], None]] = {
            "crash one": lambda: self._crash([self._any()]),
            "crash leader": lambda: self._crash([self._world.leader() or self._any()]),
            "crash several": self._crash_several,
            "crash writing": self._crash_writing,
            "pause": self._pause,
            "stall": self._stall,
            "partition": self._partition,
            "divergence": self._diverge,
            "clog": self._clog,
            "disk full": self._fill_disk,
            "disk error": self._break_disk,
            "slow disk": self._slow_disk,
            "clock jump": lambda: self._machine().clock.jump(self._rng.uniform(-1e5, 1e5)),
        }
        self._active = sorted(self._kinds.keys() & world.settings.faults)
        if self._active:
            self._wait()

    def stop(self) -> None:
        """Do no more harm; what is broken stays so."""
        self._stopped = True

    def _wait(self) -> None:
        # Now and then a quiet time, in which everybody may come to an agreement that the next fault then tests.
        mean_s = self._world.settings.fault_mean_s * (5 if self._rng.random() < 0.1 else 1)
        self._world.schedule.after(self._rng.expovariate(1 / mean_s), self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        kind = self._rng.choice(self._active)
        self._world.trace.note("fault", kind)
        self._kinds[kind]()
        self._wait()

    def _any(self) -> MemberId:
        return self._rng.choice(list(self._world.machines))

    def _machine(self) -> Machine:
        return self._world.machines[self._any()]

    def _later(self, mean_s: float, action: Callable[[], None]) -> None:
        self._world.schedule.after(self._rng.expovariate(1 / mean_s), lambda: None if self._stopped else action())

    def _crash(self, members: list[MemberId]) -> None:
        power = self._rng.random() < 0.7
        for member in members:
            machine = self._world.machines[member]
            if machine.server is None:
                continue
            machine.crash(power=power)
            long = self._rng.random() < self._world.settings.long_outages
            self._later(5 if long else 0.4, machine.start_if_down)

    def _crash_several(self) -> None:
        members = list(self._world.machines)
        count = len(members) if self._rng.random() < 0.3 else self._rng.randint(1, len(members))
        self._crash(self._rng.sample(members, count))

    def _crash_writing(self) -> None:
        name = self._any()
        self._world.machines[name].when_writing = lambda: None if self._stopped else self._crash([name])

    def _pause(self) -> None:
        leader = self._world.leader()
        member = leader if leader is not None and self._rng.random() < 0.4 else self._any()
        self._world.machines[member].pause(self._rng.choice([0.1, 1.0, 4.0]) * self._rng.random())

    def _stall(self) -> None:
        """The leader stands still, cut off as well, until there is another one; then it wakes up and knows nothing of it."""
        leader = self._world.leader()
        if leader is None:
            return
        network = self._world.network
        others = [member for member in self._world.machines if member != leader]
        for_s = self._world.settings.election_timeout_s * self._rng.uniform(2, 4)
        network.cut([*((leader, other) for other in others), *((other, leader) for other in others)])
        self._world.machines[leader].pause(for_s)
        self._world.schedule.after(for_s + self._rng.uniform(0, 0.5), network.heal)

    def _partition(self) -> None:
        self._world.network.heal()
        self._world.network.cut(partition(self._rng, list(self._world.machines), self._world.leader()))
        self._later(self._rng.choice([0.3, 2.0, 5.0]), self._world.network.heal)

    def _diverge(self) -> None:
        """Cut the leader off for an election or two, then bring it back and take away whoever followed it."""
        leader = self._world.leader()
        if leader is None:
            return
        network = self._world.network
        others = [member for member in self._world.machines if member != leader]
        friends = self._rng.sample(others, self._rng.choice([0, 0, 1]) if len(others) > 2 else 0)
        side = [leader, *friends]
        links = [(a, b) for a in side for b in others if b not in side]
        network.heal()
        network.cut([*links, *((b, a) for a, b in links)])

        def meet_again() -> None:
            network.heal()
            successor = self._world.leader()
            if successor is not None and successor != leader and self._rng.random() < 0.6:
                self._crash([successor])

        timeout_s = self._world.settings.election_timeout_s
        self._world.schedule.after(timeout_s * self._rng.uniform(1, 5), lambda: None if self._stopped else meet_again())

    def _clog(self) -> None:
        sender, to = self._rng.sample(list(self._world.machines), 2)
        self._world.network.clog(sender, to, self._rng.uniform(0, 5))

    def _fill_disk(self) -> None:
        machine = self._machine()
        machine.disk.capacity_bytes = machine.disk.used_bytes + self._rng.randint(0, 600)
        self._later(1.5, machine.free_disk)

    def _break_disk(self) -> None:
        operation = self._rng.choice(["append", "datasync", "datasync", "create", "rename", "sync_directory", "delete"])
        error = DiskFull if self._rng.random() < 0.2 else DiskFailed
        self._machine().break_disk(operation, error, self._rng.randint(0, 3))

    def _slow_disk(self) -> None:
        machine = self._machine()
        machine.slow = self._rng.choice([10.0, 100.0])
        self._later(2, machine.mend_disk)


class Operator(Client):
    """Changes the membership, hands leadership over, asks for snapshots: at any time, wise or not."""

    def __init__(self, name: str, world: World, rng: random.Random) -> None:
        self._world = world
        self._wishes = ["status", *sorted({"transfer", "snapshot", "churn"} & world.settings.faults)]
        super().__init__(name, world, rng)

    def life(self) -> Does:
        while not self.stopping:
            if self.rng.random() < 0.8:
                yield from self._wait()
            wish = self.rng.choice(self._wishes)
            if wish == "status":
                self.turn_to(self.rng.choice(self._world.members()))
                yield Ask(lambda number: AskStatus(id=number), 0.5)
            elif wish == "transfer":
                yield from self._transfer(self.rng.choice([None, self.rng.choice(list(self._world.membership.voters))]))
            elif wish == "snapshot":
                self.turn_to(self.rng.choice(self._world.members()))
                yield Ask(lambda number: TakeSnapshot(id=number), 0.5)
            else:
                yield from self._churn()

    def patience_s(self) -> float:
        """At times so little that the next wish comes before the last one is fulfilled."""
        return 0.02 if self.rng.random() < 0.4 else super().patience_s()

    def _wait(self) -> Does:
        """For a while, or for a new leader, whose first moments are the tricky ones."""
        if self.rng.random() < 0.6:
            yield Sleep(self.rng.expovariate(1 / 0.7))
            return
        leader = self._world.leader()
        for _ in range(100):
            yield Sleep(0.02)
            if self._world.leader() != leader:
                return

    def _transfer(self, to: MemberId | None) -> Does:
        yield from self._wish(lambda number: TransferLeadership(id=number, to=to))

    def _churn(self) -> Does:
        voters, learners = list(self._world.membership.voters), list(self._world.membership.learners)
        kinds = []
        if len(voters) > VOTERS_MIN or self.rng.random() < 0.1:
            kinds += ["remove", "remove"]
        if learners:
            kinds += ["promote", "promote", "promote", "drop"]
        if len(learners) < 2 and len(voters) < VOTERS_MAX:
            kinds.append("add")
        kind = self.rng.choice(kinds or ["remove"])
        if kind == "add":
            action, member = MemberAction.ADD, self._world.add_machine()
        elif kind == "remove":
            action, member = MemberAction.REMOVE, self.rng.choice(voters)
        else:
            action = MemberAction.PROMOTE if kind == "promote" else MemberAction.REMOVE
            member = self.rng.choice(learners)
        yield from self._wish(
            lambda number: ChangeMembership(id=number, action=action, member=member, address=member), tries=3
        )

    def _wish(self, request: Callable[[int], Request], tries: int = 2) -> Does:
        for _ in range(tries):
            leader = self._world.leader()
            if leader is not None and leader in self._world.machines:
                self.turn_to(leader)
            response = yield Ask(request, self.patience_s())
            if response is not None:
                return
