"""Breadth first through all states of a setting, so that the first counterexample is a shortest one."""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import dataclass

from model.calm import Calm
from model.world import Setting, State, World, violated


@dataclass(frozen=True)
class Counterexample:
    """A way into a state that must not be."""

    error: str
    trace: tuple[tuple[str, State], ...]

    def __str__(self) -> str:
        lines = [self.error]
        for number, (label, state) in enumerate(self.trace):
            lines.append(f"{number:3} {label}")
            lines.extend(f"        {process}" for process in state.processes)
            keys = ", ".join(
                f"{entry.key.removeprefix('e/')}@{entry.revision} on {entry.lease_id}" for entry in state.store.entries
            )
            late = f"; {len(state.astray)} writes astray" if state.astray else ""
            lines.append(f"        store: {keys or 'empty'}{late}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """What an exploration found."""

    states: int
    complete: bool
    """Whether every state within the budgets was seen."""
    counterexample: Counterexample | None


def explore(setting: Setting, *, states_max: int = 10_000_000, calm: bool = True) -> Result:
    """Look at every state that can be reached, at most `states_max`, until one is wrong.

    With `calm` it is also asked of each state what becomes of it if nothing goes wrong any more.
    """
    world = World(setting)
    quiet = Calm(world)
    first = world.first()
    parents: dict[State, State | None] = {first: None}
    waiting = deque([first])
    collecting = gc.isenabled()
    gc.disable()  # Nothing here is garbage, and looking for it takes half of the time.
    try:
        while waiting:
            state = waiting.popleft()
            error = violated(state) or (quiet.trouble(state) if calm else None)
            if error is not None:
                return Result(len(parents), False, Counterexample(error, _trace(world, parents, state)))
            for label, after, errors in world.following(state):
                if errors:
                    trace = (*_trace(world, parents, state), (label, after))
                    return Result(len(parents), False, Counterexample("; ".join(errors), trace))
                if after not in parents:
                    parents[after] = state
                    waiting.append(after)
            if len(parents) > states_max:
                return Result(len(parents), False, None)
    finally:
        if collecting:
            gc.enable()
    return Result(len(parents), True, None)


def _trace(world: World, parents: dict[State, State | None], last: State) -> tuple[tuple[str, State], ...]:
    trace: list[tuple[str, State]] = []
    state: State | None = last
    while state is not None:
        parent = parents[state]
        label = "the beginning"
        if parent is not None:
            label = next(step.label for step in world.following(parent) if step.state == state)
        trace.append((label, state))
        state = parent
    return tuple(reversed(trace))
