"""What one process, or nobody in particular, may do next, given what the store holds.

The moves of a process depend on it and the store alone, so they are worked out once for each pair that occurs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.contest import Phase
from leasekit.core.remains import Verdict
from leasekit.errors import LeaseLost
from leasekit.store import Committed
from model.aging import NOW
from model.process import KEYS, Draft, Mode, Process, ProcessTable
from model.storage import OUT_OF_TURN_TICKS, Shelf, Storage
from model.watchers import ahead_of_new_leader, jumped_in, out_of_turn, pending, stranded

IDLER_KEY = KEYS.candidate("x")
"""Of a candidate that lives, but does nothing."""
RELEASING = (Phase.TRANSFERRING, Phase.RESIGNING)


@dataclass(frozen=True, slots=True)
class Menu:
    """Which faults and wishes occur in a run; a move that is not free costs one of the budget."""

    faults: frozenset[str] = frozenset(
        {"unavailable", "reply lost", "applied late", "pause", "cut", "crash", "told late"}
    )
    wishes: frozenset[str] = frozenset({"give up", "resign", "transfer"})
    """Operators' wishes are "force" (with "no hold", the hold is left out), "request" and "rebase"."""
    once: frozenset[str] = frozenset()
    """Processes whose campaigns are single tries."""
    faulty: frozenset[str] = frozenset("ABC")
    """Processes that faults befall."""
    wishing: frozenset[str] = frozenset("ABC")
    """Processes whose users have wishes."""
    ordered: bool = True
    """Whether first come is first served: not so where a later candidate may have a higher priority."""


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """One thing that may happen."""

    label: str
    process: Process | None
    """What its process becomes; None for a move of nobody's."""
    store: Storage
    faults: int = 0
    wishes: int = 0
    progress: bool = False
    """Whether it goes on with work under way: what a calm world would do next."""
    astray: tuple[e.Transact, ...] = ()
    elected: int = 0
    early: bool = False
    """Whether it elects one out of turn although somebody led of late. Faults may bring that about, nothing else."""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """The moves of one process."""

    moves: tuple[Move, ...]
    urgent: bool
    """Whether time stands still until some of them were made."""
    stranded: str | None
    """Why the process waits for ever although all is delivered; None if it does not."""


class Rules:
    """Works out moves."""

    def __init__(self, table: ProcessTable, shelf: Shelf, menu: Menu) -> None:
        self.table = table
        self.shelf = shelf
        self.menu = menu

    def of(self, process: Process, store: Storage, *, faults: bool, wishes: bool) -> Moves:
        """The moves of one process: those that cost nothing, and with `faults` and `wishes` those that do."""
        faults = faults and process.name in self.menu.faulty
        wishes = wishes and process.name in self.menu.wishing
        if process.mode is Mode.DEAD:
            moves = list(self._rebirth(process, store))
        elif process.mode is Mode.RUNNING:
            moves = list(self._progress(process, store))
        else:
            moves = list(self._silenced(process, store, wishes=wishes))
        urgent = any(move.progress for move in moves)
        if process.mode is Mode.RUNNING:
            # None of these has to come before time goes on.
            moves.extend(self._late(process, store))
            moves.extend(self._choices(process, store, wishes=wishes))
            moves.extend(self._faults(process, store) if faults else ())
        delivered = process.mode is Mode.RUNNING and not urgent and process.late is None
        moves = [self._in_turn(process, move, store) for move in moves]
        return Moves(tuple(moves), urgent, stranded(process, store) if delivered else None)

    def _in_turn(self, process: Process, move: Move, before: Storage) -> Move:
        """With an error, if it makes a leader of one whose turn it was not. First come, first served."""
        jumped = jumped_in(before, move.store, self.shelf.kind)
        if jumped is not None:
            return replace(move, errors=(*move.errors, jumped))
        first = ahead_of_new_leader(before, move.store)
        if first is None or not move.elected or not self.menu.ordered or move.process is None:
            return move
        if process.contest.candidate_key not in before.by_key:
            return move  # At once, on a store that cannot compare that nobody queues.
        if not out_of_turn(process):
            return replace(move, errors=(*move.errors, f"{process.name} is elected although {first} is first"))
        return replace(move, early=before.vacant < OUT_OF_TURN_TICKS)

    def move(self, label: str, draft: Draft, store: Storage, *, cost: str = "", progress: bool = False) -> Move:
        """What the draft has become. A lease that it needs it is granted along, which concerns nobody else."""
        if draft.mode is Mode.RUNNING and draft.wants_lease and draft.belief.lease_id is None:
            store = self.shelf.granted(store, draft.grant())
        leader = store.by_key.get(KEYS.leader)
        if leader is not None and leader.revision == draft.superseded:
            draft.errors.append(f"{draft.name} lost its leadership for nothing")
        return Move(
            f"{draft.name}: {label}",
            self.table.settle(draft, store),
            store,
            faults=int(cost == "fault"),
            wishes=int(cost == "wish"),
            progress=progress,
            astray=draft.astray,
            elected=draft.elected,
            errors=tuple(draft.errors),
        )

    def draft(self, process: Process) -> Draft:
        return Draft(process, self.table.quirks)

    # What goes on by itself.

    def _progress(self, process: Process, store: Storage) -> Iterator[Move]:
        yield from self._timers(process, store)
        if process.request is not None:
            after, answer = self.outcome(process, store)
            draft = self.draft(process)
            draft.answer(answer)
            yield self.move(f"{_name(process)} answered: {type(answer).__name__}", draft, after, progress=True)
        if process.pausing:
            draft = self.draft(process)
            draft.feed(e.Wake())
            yield self.move("the pause is over", draft, store, progress=True)
        yield from self._lease(process, store)
        for key in sorted(pending(process, store)):
            draft = self.draft(process)
            draft.see(key, store.by_key.get(key), store.changed_at(key), later=False)
            yield self.move(f"is told of {key}", draft, store, progress=True)
        for index, chore in enumerate(process.chores):
            if chore.due:
                yield self._tidied(process, store, index)
                break

    def _late(self, process: Process, store: Storage) -> Iterator[Move]:
        if process.late is not None:
            draft = self.draft(process)
            draft.late = None
            draft.feed(process.late)
            yield self.move(f"handles the change of {process.late.key}", draft, store, progress=True)

    def _timers(self, process: Process, store: Storage) -> Iterator[Move]:
        """What needs no network."""
        if process.belief.checked(NOW) is not process.belief:
            draft = self.draft(process)
            draft.check_deadline()
            yield self.move("sees that the deadline has passed", draft, store, progress=True)
        wake_at = process.contest.wake_at
        if wake_at is not None and NOW.reached(wake_at):
            draft = self.draft(process)
            draft.feed(e.Wake())
            yield self.move("wakes up", draft, store, progress=True)

    def outcome(self, process: Process, store: Storage) -> tuple[Storage, e.Answer]:
        """The request under way, applied now, if it has not been answered already."""
        request = process.request
        assert request is not None
        if request.answer is not None:
            return store, request.answer
        if isinstance(request.action, e.Revoke):
            return self.shelf.ended(store, request.action.lease_id), e.Applied(0, Committed(store.revision))
        try:
            store, committed = self.shelf.transact(store, request.action.compares, request.action.ops)
        except LeaseLost as lost:
            return store, e.LeaseGone(0, lost.lease_id)
        return store, e.Refused(0) if committed is None else e.Applied(0, committed)

    def _lease(self, process: Process, store: Storage) -> Iterator[Move]:
        lease_id = process.belief.lease_id
        if lease_id is None and process.wants_lease:
            yield self.move("needs a lease", self.draft(process), store, progress=True)
        elif lease_id is not None and (process.renewed_ago or process.wants_lease):
            draft = self.draft(process)
            if store.lives(lease_id):
                draft.renewed()
                yield self.move("renews", draft, self.shelf.granted(store, lease_id), progress=True)
            else:
                draft.lose_lease()
                yield self.move("learns that its lease is gone", draft, store, progress=True)

    def _tidied(self, process: Process, store: Storage, index: int, *, fault: str | None = None) -> Move:
        """One request for what an ended candidacy left behind."""
        remains = process.chores[index].remains
        compares, ops = remains.request()
        after, committed = store, None
        if fault not in ("unavailable", "applied late"):
            after, committed = self.shelf.transact(store, compares, ops)
        if fault is not None:
            remains, verdict = remains.unanswered(NOW)
        elif committed is None:
            remains, verdict = remains.refused()
        elif remains.found is None:
            remains, verdict = remains.looked(committed.reads, NOW)
        else:
            remains, verdict = remains.deleted(NOW)
        draft = self.draft(process)
        draft.concluded(index, remains, verdict)
        if fault == "applied late":
            draft.astray = (e.Transact(0, compares, ops),)
        if verdict is Verdict.REVOKE and process.belief.lease_id is not None:
            after = self.shelf.ended(after, process.belief.lease_id)
        label = f"tidies up{f' ({fault})' if fault else ''}: {verdict.name.lower()}"
        return self.move(label, draft, after, progress=fault is None, cost="fault" if fault else "")

    # What users and operators may want.

    def _choices(self, process: Process, store: Storage, *, wishes: bool) -> Iterator[Move]:
        phase = process.contest.phase
        if (
            phase is Phase.IDLE
            and process.campaigns_left
            and all(chore.remains.found is None for chore in process.chores)
        ):
            draft = self.draft(process)
            draft.campaign(once=process.name in self.menu.once)
            yield self.move("campaigns", draft, store)
        elif phase in RELEASING and process.pausing:
            draft = self.draft(process)
            draft.feed(e.GiveUp())
            yield self.move("gives up telling the store", draft, store)
        elif not wishes or phase is Phase.IDLE or phase in RELEASING:
            return
        elif process.contest.leads:
            yield from self._releases(process, store)
        elif "give up" in self.menu.wishes:
            draft = self.draft(process)
            draft.feed(e.GiveUp())
            yield self.move("gives up", draft, store, cost="wish")

    def _releases(self, process: Process, store: Storage) -> Iterator[Move]:
        if "resign" in self.menu.wishes:
            draft = self.draft(process)
            draft.let_go(e.Resign())
            yield self.move("resigns", draft, store, cost="wish")
        if "transfer" not in self.menu.wishes:
            return
        base = store.by_key.get(records.BASE_KEY)
        known = queue.Base(records.load_base(base.value), base.revision) if base else queue.NO_BASE
        for entry in store.entries:
            if entry.key.startswith(KEYS.queue) and entry.key not in (process.contest.candidate_key, IDLER_KEY):
                draft = self.draft(process)
                draft.let_go(e.Transfer(entry, known, 0.0))
                yield self.move(f"transfers to {entry.key}", draft, store, cost="wish")

    # What goes wrong.

    def _faults(self, process: Process, store: Storage) -> Iterator[Move]:
        if "crash" in self.menu.faults:
            yield self._dead(process, store)
        for fault, mode in (("pause", Mode.PAUSED), ("cut", Mode.CUT)):
            if fault in self.menu.faults:
                yield self._silence(process, store, mode)
        if process.request is not None and process.request.answer is None:
            yield from self._unanswered(process, store)
        for index, chore in enumerate(process.chores):
            if chore.due:
                if "unavailable" in self.menu.faults:
                    yield self._tidied(process, store, index, fault="unavailable")
                if chore.remains.found is not None:
                    for fault in sorted(self.menu.faults & {"reply lost", "applied late"}):
                        yield self._tidied(process, store, index, fault=fault)
                break
        if "told late" in self.menu.faults and process.late is None:
            for key in sorted(pending(process, store)):
                draft = self.draft(process)
                draft.see(key, store.by_key.get(key), store.changed_at(key), later=True)
                yield self.move(f"is told of {key}, but does not handle it yet", draft, store, cost="fault")
        if "missed" in self.menu.faults and process.contest.phase in (Phase.WAITING, Phase.LEADING):
            draft = self.draft(process)
            draft.feed(e.Missed())
            yield self.move("may have missed changes", draft, store, cost="fault")

    def _unanswered(self, process: Process, store: Storage) -> Iterator[Move]:
        request = process.request
        assert request is not None
        if "unavailable" in self.menu.faults:
            draft = self.draft(process)
            draft.answer(e.Unavailable(0))
            yield self.move(f"{_name(process)} unavailable", draft, store, cost="fault")
        if not request.writes:
            return
        if "reply lost" in self.menu.faults:
            after, _ = self.outcome(process, store)
            draft = self.draft(process)
            draft.answer(e.Unknown(0))
            yield self.move(f"{_name(process)} applied, but the reply is lost", draft, after, cost="fault")
        if "applied late" in self.menu.faults and isinstance(request.action, e.Transact):
            draft = self.draft(process)
            draft.answer(e.Unknown(0))
            draft.astray = (*draft.astray, request.action)
            yield self.move(
                f"{_name(process)} without a reply, perhaps to be applied later", draft, store, cost="fault"
            )

    def _dead(self, process: Process, store: Storage) -> Move:
        draft = self.draft(process)
        draft.die()
        return self.move("dies", draft, store, cost="fault")

    def _silence(self, process: Process, store: Storage, mode: Mode) -> Move:
        label = "is paused" if mode is Mode.PAUSED else "is cut off"
        return Move(f"{process.name}: {label}", self.table.silenced(process, mode), store, faults=1)

    def _silenced(self, process: Process, store: Storage, *, wishes: bool) -> Iterator[Move]:
        """Paused or cut off: a request that was sent may still arrive, and once it is over all goes on."""
        label = "goes on" if process.mode is Mode.PAUSED else "is reachable again"
        yield Move(f"{process.name}: {label}", self.table.silenced(process, Mode.RUNNING), store)
        if process.request is not None and process.request.answer is None and process.request.writes:
            after, answer = self.outcome(process, store)
            draft = self.draft(process)
            draft.arrived(answer)
            yield self.move(f"{_name(process)} arrives: {type(answer).__name__}", draft, after)
        if process.mode is Mode.CUT:
            yield from self._timers(process, store)
            yield from self._choices(process, store, wishes=wishes)

    def _rebirth(self, process: Process, store: Storage) -> Iterator[Move]:
        """Started again under the same id. Its lease is another one."""
        if process.campaigns_left:
            draft = self.draft(process)
            draft.mode = Mode.RUNNING
            yield self.move("is started again", draft, store)


def _name(process: Process) -> str:
    """What the request under way is, for people."""
    return process.contest.phase.name.lower().replace("_", " ")
