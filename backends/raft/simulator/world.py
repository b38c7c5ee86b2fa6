"""A whole cluster with its clients, on virtual time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.quorum import majority
from leasekit.backends.raft.core.types import EntryKind, MemberId, Membership
from leasekit.backends.raft.requests import Response
from leasekit.backends.raft.simulator.clients import Client
from leasekit.backends.raft.simulator.connection import Connection
from leasekit.backends.raft.simulator.invariants import Invariants, View, ensure
from leasekit.backends.raft.simulator.linearizability import Operation
from leasekit.backends.raft.simulator.machine import Machine
from leasekit.backends.raft.simulator.network import Network
from leasekit.backends.raft.simulator.reference import Reference
from leasekit.backends.raft.simulator.schedule import Schedule
from leasekit.backends.raft.simulator.settings import Settings
from leasekit.backends.raft.simulator.trace import Trace
from leasekit.backends.raft.simulator.workload import Burst, Elector, Registers, Several, Watcher


class World:
    """Everything that is in one run. `tell` is given each line of the trace."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.rng = random.Random(seed)
        self.settings = Settings.drawn(self.rng)
        self.schedule = Schedule()
        self.trace = Trace(self.schedule, tell)
        self.counts: Counter[str] = Counter()
        self.network = Network(self.schedule, self.new_rng(), self.settings.weather)
        names = [f"m{number + 1}" for number in range(self.settings.voters)]
        self.membership = Membership({name: name for name in names})
        """The latest committed one."""
        self.invariants = Invariants(self.counts, self.membership)
        self.reference = Reference(self.counts)
        self.history: list[Operation] = []
        self.clients: list[Client] = []
        self.machines: dict[MemberId, Machine] = {}
        self.healed = False
        self.views: dict[MemberId, View] = {}
        self._machines_made = 0
        self._connections_made = 0
        self._states: dict[int, bytes] = {}
        for _ in names:
            self._make_machine(self.membership)
        self._make_clients()

    def new_rng(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    def _make_machine(self, bootstrap: Membership | None) -> MemberId:
        self._machines_made += 1
        name = f"m{self._machines_made}"
        self.machines[name] = Machine(name, self, self.new_rng(), bootstrap)
        self.machines[name].start()
        return name

    def _make_clients(self) -> None:
        settings = self.settings
        for number in range(settings.register_clients):
            name = f"register-{number}"
            self.clients.append(Registers(name, self, self.new_rng(), self.history, settings.registers))
        for number in range(settings.several_clients):
            self.clients.append(Several(f"several-{number}", self, self.new_rng()))
        for number in range(settings.bursts):
            self.clients.append(Burst(f"burst-{number}", self, self.new_rng()))
        ttl_s = self.rng.choice([0.5, 1.5, 3.0])
        for number in range(settings.electors):
            self.clients.append(Elector(f"elector-{number}", self, self.new_rng(), "e/leader", ttl_s))
        for number in range(settings.watchers):
            key, prefix = self.rng.choice([("", True), ("e/", True), ("e/leader", False), ("r/0", False)])
            Watcher(f"watcher-{number}", self, self.new_rng(), key, prefix=prefix)

    # What members and clients ask of the world.

    def deliver(self, to: MemberId, body: bytes) -> None:
        """A message has come through the network."""
        if to in self.machines:
            self.machines[to].received(body)

    def connect(
        self, client: str, member: MemberId, heard: Callable[[Response], None], lost: Callable[[Connection], None]
    ) -> Connection | None:
        """A connection to `member`; None if it is down."""
        machine = self.machines.get(member)
        if machine is None or machine.server is None:
            return None
        self._connections_made += 1
        return Connection(self._connections_made, client, machine, self.schedule, self.network, heard, lost)

    def members(self) -> list[MemberId]:
        """Where clients may turn to: the addresses that they were once given, and those that they have heard of."""
        return [*self.membership.voters, *self.membership.learners]

    def leader(self) -> MemberId | None:
        """Who leads in the latest term, as far as is known."""
        leader = self.invariants.leader()
        return leader if leader in self.machines else None

    def add_machine(self) -> MemberId:
        """Start a new, empty member that nobody knows yet."""
        return self._make_machine(None)

    # What is looked at after every step.

    def looked(self, machine: Machine) -> None:
        """`machine` has done something: check it, and let the reference follow what is newly committed."""
        view = machine.view()
        before = self.views.get(machine.name)
        self.views[machine.name] = view
        self.invariants.looked(view)
        committed = self.invariants.committed
        while self.reference.applied < len(committed) - 1:
            self._committed(self.reference.applied + 1)
        if before is None or view.applied != before.applied:
            self._check_state(machine, view.applied)

    def _committed(self, index: int) -> None:
        kind, data = self.invariants.kinds[index], self.invariants.committed[index][1]
        if kind == EntryKind.MEMBERSHIP:
            self.counts["membership changes"] += 1
            self._change_membership(memberships.decode(data))
            data = b""
        self.reference.apply(index, data, self.schedule.now_s)

    def _change_membership(self, membership: Membership) -> None:
        gone = [name for name in self.members() if name not in membership]
        self.membership = membership
        for name in gone:
            # Whoever was taken out may disturb the others for a while, until somebody switches it off.
            self.schedule.after(self.rng.expovariate(1 / 2), partial(self._switch_off, name))

    def _switch_off(self, name: MemberId) -> None:
        # A late repetition of the request that added it may have brought it back, only to be taken out again.
        if (machine := self.machines.pop(name, None)) is not None:
            machine.retire()

    def _check_state(self, machine: Machine, applied: int) -> None:
        """State-machine safety: at the same index all members are the same, and as the reference says."""
        if applied % 8 and applied != self.reference.applied:
            return
        assert machine.server is not None
        state = machine.server.machine
        ensure(state.applied == applied, "the state machine is not where Raft thinks", machine.name, applied)
        known = self._states.setdefault(applied, encoded := state.freeze().encode())
        ensure(known == encoded, "two members differ at one index", machine.name, applied)
        if applied == self.reference.applied:
            right = state.scan("") == self.reference.entries()
            ensure(right, "a member's keys are not what the log says", machine.name, applied)

    # Healing.

    def heal(self) -> list[MemberId]:
        """Mend the network and the disks; start all members, or a random core without which nothing could go on."""
        self.healed = True
        self.network.heal()
        self.network.weather = type(self.network.weather)()
        core = self._core() if self.settings.core_only else list(self.machines)
        for name, machine in self.machines.items():
            machine.heal()
            if name in core:
                machine.start_if_down()
            elif machine.server is not None:
                machine.crash()
        self.trace.note("healed", *core)
        return core

    def _core(self) -> list[MemberId]:
        """Members that are a majority of every membership that may be in force."""
        possible = [self.membership]
        latest = max(
            (view.membership_index for view in self.views.values() if view.membership == self.membership), default=0
        )
        possible += [view.membership for view in self.views.values() if view.membership_index >= latest]
        names = list(self.machines)
        self.rng.shuffle(names)
        core: list[MemberId] = []
        for name in names:
            if all(_is_majority(core, membership) for membership in possible):
                break
            if any(name in membership.voters for membership in possible):
                core.append(name)
        return core


def _is_majority(members: list[MemberId], membership: Membership) -> bool:
    return sum(voter in members for voter in membership.voters) >= majority(len(membership.voters))
