"""Is there an order of these operations that explains every answer and contradicts no clock?

The search of Wing and Gong, with the memory that Lowe added: try every operation that was begun before the first
one to end, and never look twice at the same set of operations with the same state. Histories are split by the
model where its parts cannot influence each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

State = TypeVar("State", bound=Hashable)


class Unknown:
    """The output of an operation whose outcome nobody learnt."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as its client saw it. Times are in any unit, on one clock for the whole history."""

    client: Hashable
    input: object
    output: object = UNKNOWN
    called: float
    returned: float = math.inf

    @property
    def known(self) -> bool:
        """Whether its outcome is known. If not it may take effect at any time after `called`, or never."""
        return self.output is not UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Generic[State]):
    """What a correct object does, one operation at a time."""

    initial: State
    step: Callable[[State, object, object], tuple[bool, State]]
    """(state, input, output) to (whether that output is right in this state, the state after). UNKNOWN is right if
    the operation could be done at all."""
    part: Callable[[object], Hashable] = lambda _input: None
    """Inputs with the same value here concern the same object; others are independent of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`linearizable` is None where the search was given up after `max_steps`. `part`: the first that is not right."""

    linearizable: bool | None
    part: Hashable = None
    steps: int = 0


def check(model: Model[State], operations: Iterable[Operation], *, max_steps: int | None = None) -> Verdict:
    """Judge a history. `max_steps` bounds the tried operations per part, since the worst case is exponential."""
    parts: dict[Hashable, list[Operation]] = {}
    for operation in operations:
        parts.setdefault(model.part(operation.input), []).append(operation)
    steps = 0
    undecided = Verdict(True)
    for part, history in parts.items():
        search = _Search(model, history)
        found = search.run(max_steps)
        steps += search.steps
        if found is False:
            return Verdict(False, part, steps)
        if found is None:
            undecided = Verdict(None, part)
    return Verdict(undecided.linearizable, undecided.part, steps)


_HEAD = 0


class _Search(Generic[State]):
    """One part's depth-first search, without recursion.

    The history is a doubly linked list of calls and returns in the order of time. An operation with a known outcome
    has both, one with an unknown outcome a call alone, so that nothing ever forces it to have been done.
    """

    def __init__(self, model: Model[State], history: Sequence[Operation]) -> None:
        self._model = model
        self._history = history
        self.steps = 0
        # At equal times calls come first: the operations overlap, which is the weaker claim.
        events = [(operation.called, 0, number) for number, operation in enumerate(history)]
        events += [(operation.returned, 1, number) for number, operation in enumerate(history) if operation.known]
        events.sort()
        size = len(events) + 1
        self._next = [*range(1, size), _HEAD]
        self._previous = [size - 1, *range(size - 1)]
        self._operation = [-1] * size
        self._is_call = [False] * size
        self._return = [_HEAD] * size
        calls: dict[int, int] = {}
        for place, (_, is_return, number) in enumerate(events, start=1):
            self._operation[place] = number
            if is_return:
                self._return[calls[number]] = place
            else:
                self._is_call[place] = True
                calls[number] = place

    def run(self, max_steps: int | None) -> bool | None:
        """True once every operation with a known outcome has its place; None after `max_steps`."""
        state, done = self._model.initial, 0
        waiting = sum(operation.known for operation in self._history)
        seen: set[tuple[int, State]] = set()
        undo: list[tuple[int, State]] = []
        place = self._next[_HEAD]
        while waiting:
            if self._is_call[place]:
                if self.steps == max_steps:
                    return None
                after = self._try(place, state)
                if after is not None:
                    reached = (done | 1 << self._operation[place], after[0])
                    if reached not in seen:
                        seen.add(reached)
                        undo.append((place, state))
                        done, state = reached
                        waiting -= self._lift(place)
                        place = self._next[_HEAD]
                        continue
            else:
                # Somebody has ended who has no place yet: the last choice was wrong.
                if not undo:
                    return False
                place, state = undo.pop()
                done ^= 1 << self._operation[place]
                waiting += self._put_back(place)
            place = self._next[place]
        return True

    def _try(self, place: int, state: State) -> tuple[State] | None:
        self.steps += 1
        operation = self._history[self._operation[place]]
        right, after = self._model.step(state, operation.input, operation.output)
        if not right:
            return None
        # An unknown operation that would change nothing need not be done: leaving it out loses no explanation.
        if not operation.known and after == state:
            return None
        return (after,)

    def _lift(self, call: int) -> bool:
        self._unlink(call)
        if (end := self._return[call]) == _HEAD:
            return False
        self._unlink(end)
        return True

    def _put_back(self, call: int) -> bool:
        known = (end := self._return[call]) != _HEAD
        if known:
            self._link(end)
        self._link(call)
        return known

    def _unlink(self, place: int) -> None:
        before, after = self._previous[place], self._next[place]
        self._next[before], self._previous[after] = after, before

    def _link(self, place: int) -> None:
        before, after = self._previous[place], self._next[place]
        self._next[before] = self._previous[after] = place
