"""What becomes of a state if nothing goes wrong any more: everybody runs, every message arrives, leases are renewed.

The course of a calm world is one line, and since nothing in a state counts up for ever, it ends in a circle. There,
somebody must lead if anybody campaigns, and no key may stand on a living lease that nobody owns.
"""

from __future__ import annotations

from leasekit.core.contest import Phase
from model.process import KEYS, Mode, Process
from model.storage import Storage
from model.world import State, World

LONGEST = 400
"""Moves within which a calm world must come to rest."""


class Calm:
    """Follows the calm course of states. Courses that meet are followed once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fine: set[tuple[Storage, tuple[Process, ...]]] = set()

    def trouble(self, state: State) -> str | None:
        """What stays wrong for ever after `state`; None if nothing does."""
        processes = tuple(self._awake(process) for process in state.processes)
        place = (state.store, processes)
        course: dict[tuple[Storage, tuple[Process, ...]], int] = {}
        while place not in self._fine and place not in course:
            course[place] = len(course)
            if len(course) > LONGEST:
                return "a calm world does not come to rest"
            place = self._next(*place)
        if place in course:
            circle = [at for at, number in course.items() if number >= course[place]]
            error = next((error for at in circle if (error := _lasting(*at))), None)
            if error is not None:
                return error
        self._fine.update(course)
        return None

    def _awake(self, process: Process) -> Process:
        if process.mode in (Mode.DEAD, Mode.RUNNING):
            return process
        return self._world.table.silenced(process, Mode.RUNNING)

    def _next(self, store: Storage, processes: tuple[Process, ...]) -> tuple[Storage, tuple[Process, ...]]:
        for index, process in enumerate(processes):
            for move in self._world.moves(process, store).moves:
                if move.progress:
                    assert move.process is not None
                    return move.store, (*processes[:index], move.process, *processes[index + 1 :])
        for lease_id, left in store.leases:
            if left == 0:
                return self._world.shelf.ended(store, lease_id), processes
        later = self._world.aged(State(store, processes, (), 0, 0, 0))
        return later.store, later.processes


def _lasting(store: Storage, processes: tuple[Process, ...]) -> str | None:
    """What is wrong with a state that comes again for ever."""
    alive = [process for process in processes if process.mode is not Mode.DEAD]
    campaigning = [process for process in alive if process.contest.phase is not Phase.IDLE]
    if campaigning and not any(process.contest.leads for process in campaigning):
        return f"{campaigning[0].name} campaigns, and nobody is ever elected"
    for process in alive:
        contest = process.contest
        for entry in store.entries:
            if entry.lease_id is None or entry.lease_id != process.belief.lease_id:
                continue
            if entry.key == KEYS.leader and not (contest.leads and contest.leader_revision == entry.revision):
                return f"an orphan: {entry.key} on the living lease {entry.lease_id}"
            if entry.key == contest.candidate_key and contest.phase is Phase.IDLE:
                return f"an orphan: {entry.key} on the living lease {entry.lease_id}"
    return None
