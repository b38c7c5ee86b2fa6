"""States of the whole, what follows a state, and what must hold in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.records import CandidateRecord, HoldRecord
from leasekit.errors import LeaseLost, ProtocolError
from leasekit.store import Put
from model.moves import IDLER_KEY, Menu, Move, Moves, Rules
from model.outside import operator_moves
from model.process import KEYS, TTL_S, Mode, Process, ProcessTable, Quirks
from model.storage import ETCD, Kind, Shelf, Storage
from model.watchers import jumped_in

ASTRAY_TICKS = 6
"""How long a write that was given up may still be applied: 2 x ttl."""


class Astray(NamedTuple):
    """A write that nobody waits for any more."""

    request: e.Transact
    ticks_left: int = ASTRAY_TICKS


class State(NamedTuple):
    """One state of the whole. Processes and stores are interned, so comparing states compares identities."""

    store: Storage
    processes: tuple[Process, ...]
    astray: tuple[Astray, ...]
    faults: int
    wishes: int
    token: int
    """The highest that anybody was elected with."""


class Step(NamedTuple):
    """How one state follows from another."""

    label: str
    state: State
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is explored: who takes part, on which store, and what may happen."""

    processes: int = 2
    campaigns: int = 2
    """How often each process campaigns."""
    faults: int = 1
    wishes: int = 1
    store: Kind = ETCD
    menu: Menu = field(default_factory=Menu)
    priorities: tuple[int, ...] = (0, 0, 0)
    idler: bool = False
    """Whether a candidate stands first in the queue that lives, but never claims (rule 5). Implies `timed_looks`."""
    timed_looks: bool = False
    """Whether a candidate that waits while somebody leads looks from time to time although no watch said so. It finds
    nothing new then, unless it stands behind an idler; without it the space is smaller, and a forgotten watch shows."""
    quirks: Quirks = field(default_factory=Quirks)


class World:
    """The states of a setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.shelf = Shelf(setting.store)
        self.table = ProcessTable(setting.quirks, timed_looks=setting.timed_looks or setting.idler)
        self.rules = Rules(self.table, self.shelf, setting.menu)
        self._moves: dict[tuple[Process, Storage, bool, bool], Moves] = {}
        self._operator: dict[Storage, tuple[Move, ...]] = {}
        self._aged_store: dict[Storage, Storage] = {}
        self._aged_process: dict[tuple[Process, Storage], tuple[Process, bool]] = {}

    def first(self) -> State:
        """Nobody has done anything yet."""
        setting = self.setting
        store = self.shelf.empty()
        if setting.idler:
            store = self.shelf.immortal(store, "X")
            idler = records.dump_candidate(CandidateRecord("x", "host", 1, 0, TTL_S))
            store, _ = self.shelf.transact(store, (), (Put(IDLER_KEY, idler, "X"),))
        processes = tuple(
            self.table.first(
                name, compares_empty=setting.store.compares_empty, priority=priority, campaigns=setting.campaigns
            )
            for name, priority in zip("ABC"[: setting.processes], setting.priorities, strict=False)
        )
        return State(store, processes, (), setting.faults, setting.wishes, 0)

    def moves(self, process: Process, store: Storage, *, faults: bool = False, wishes: bool = False) -> Moves:
        """The moves of a process: those that are free, and those that cost a fault or a wish if there is one left."""
        key = (process, store, faults, wishes)
        found = self._moves.get(key)
        if found is None:
            found = self._moves[key] = self.rules.of(process, store, faults=faults, wishes=wishes)
        return found

    def following(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        store, processes, astray, faults, wishes, token = state
        urgent = False
        for index, process in enumerate(processes):
            moves = self.moves(process, store, faults=faults > 0, wishes=wishes > 0)
            urgent = urgent or moves.urgent
            if moves.stranded is not None:
                yield Step("", state, (f"{process.name} {moves.stranded}",))
            for move in moves.moves:
                assert move.process is not None
                if self._too_early(processes, index, move.process):
                    continue
                errors = move.errors
                if move.early and faults == self.setting.faults and self._alike:
                    errors = (*errors, f"{process.name} is elected out of turn, too early")
                if move.elected and move.elected <= token:
                    errors = (*errors, f"token {move.elected} after {token}")
                yield Step(
                    move.label,
                    State(
                        move.store,
                        (*processes[:index], move.process, *processes[index + 1 :]),
                        (*astray, *(Astray(request) for request in move.astray)) if move.astray else astray,
                        faults - move.faults,
                        wishes - move.wishes,
                        move.elected or token,
                    ),
                    errors,
                )
        for move in self._operators(store):
            if move.wishes <= wishes:
                yield Step(move.label, state._replace(store=move.store, wishes=wishes - move.wishes))
        for late in dict.fromkeys(astray):
            yield self._applied_late(state, late)
        if not urgent:
            yield Step("a tick", self.aged(state))

    def _too_early(self, processes: tuple[Process, ...], index: int, after: Process) -> bool:
        """Processes are alike, so it is enough to let them begin in order."""
        if index == 0 or not self._alike:
            return False
        began = after.campaigns_left < self.setting.campaigns
        return began and processes[index - 1].campaigns_left == self.setting.campaigns

    @property
    def _alike(self) -> bool:
        return len(set(self.setting.priorities)) == 1 and not self.setting.menu.once

    def _operators(self, store: Storage) -> tuple[Move, ...]:
        found = self._operator.get(store)
        if found is None:
            found = self._operator[store] = tuple(operator_moves(self.shelf, store, self.setting.menu.wishes))
        return found

    def _applied_late(self, state: State, late: Astray) -> Step:
        left = list(state.astray)
        left.remove(late)
        try:
            store, committed = self.shelf.transact(state.store, late.request.compares, late.request.ops)
        except LeaseLost:
            store, committed = state.store, None
        what = "is applied" if committed else "is refused"
        keys = ", ".join(op.key for op in late.request.ops if isinstance(op, Put)) or "deletions"
        jumped = jumped_in(state.store, store, self.setting.store)
        after = state._replace(store=store, astray=tuple(left))
        return Step(f"a late write of {keys} {what}", after, (jumped,) if jumped else ())

    def aged(self, state: State) -> State:
        """One tick later."""
        before = state.store
        store = self._aged_store.get(before)
        if store is None:
            store = self._aged_store[before] = self.shelf.aged(before)
        processes = []
        for process in state.processes:
            found = self._aged_process.get((process, before))
            if found is None:
                found = self.table.aged(process, before), self.table.renews(process, before)
                self._aged_process[process, before] = found
            later, renews = found
            processes.append(later)
            if renews:
                assert later.belief.lease_id is not None
                store = self.shelf.granted(store, later.belief.lease_id)
        astray = tuple(late._replace(ticks_left=late.ticks_left - 1) for late in state.astray if late.ticks_left > 1)
        return state._replace(store=store, processes=tuple(processes), astray=astray)


def violated(state: State) -> str | None:
    """What is wrong with a state; None if nothing is."""
    valid = [process for process in state.processes if process.valid]
    if not valid:
        return None
    if len(valid) > 1:
        return f"two valid leaders: {valid[0].name} and {valid[1].name}"
    process = valid[0]
    assert process.tenure is not None
    if process.tenure.seen_over:
        return f"{process.name}: a leadership that was over is valid again"
    leader = state.store.by_key.get(KEYS.leader)
    if leader is None:
        return f"{process.name} is a valid leader without a record"
    if leader.lease_id == process.belief.lease_id and leader.revision == process.tenure.revision:
        return None
    if leader.lease_id is None and _holds_back(leader.value, process):
        return None
    return f"{process.name} is a valid leader but the record is another's"


def _holds_back(value: bytes, process: Process) -> bool:
    """Whether the record is a hold for this leader: nobody else leads before it has run out (rule 10)."""
    try:
        record = records.load_leader(value)
    except ProtocolError:
        return False
    return isinstance(record, HoldRecord) and record.lease_id == process.belief.lease_id


__all__ = ["Mode", "Setting", "State", "Step", "World", "violated"]
