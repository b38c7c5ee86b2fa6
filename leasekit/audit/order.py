"""Events in an order that happened-before allows, and by the clocks where it leaves a choice."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from leasekit.audit.timeline import Timeline
from leasekit.core.journal_event import JournalEvent
from leasekit.core.logical import Relation


@dataclass(frozen=True, slots=True)
class Placed:
    """An event in the order. Its `number` counts from 1."""

    number: int
    event: JournalEvent
    at_s: float
    heard: tuple[int, ...]
    """Numbers of the newest events of other processes that it knows of and its process did not know of before."""
    concurrent: bool
    """Whether neither this nor the event before it in the order could know of the other: only clocks order the two."""


def relation(one: JournalEvent, other: JournalEvent) -> Relation:
    """How one event stands to the other."""
    return one.clock.compared(other.clock)


def in_order(events: Sequence[JournalEvent], timeline: Timeline) -> tuple[list[Placed], list[str]]:
    """All events, each after whatever happened before it; and what is to be said of that."""
    causes = _causes(events)
    followers: dict[int, list[int]] = defaultdict(list)
    for index, (own, heard) in enumerate(causes):
        for cause in {*own, *heard}:
            followers[cause].append(index)
    open_causes = [len({*own, *heard}) for own, heard in causes]
    ready = [_rank(events, timeline, index) for index, count in enumerate(open_causes) if not count]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)[-1]
        order.append(index)
        for follower in followers[index]:
            open_causes[follower] -= 1
            if not open_causes[follower]:
                heapq.heappush(ready, _rank(events, timeline, follower))
    notes = []
    if len(order) < len(events):
        left = set(range(len(events))) - set(order)
        order += [rank[-1] for rank in sorted(_rank(events, timeline, index) for index in left)]
        notes.append(f"the vector clocks of {len(left)} events contradict each other: these journals were changed")
    return _placed(events, timeline, causes, order), notes


def _rank(events: Sequence[JournalEvent], timeline: Timeline, index: int) -> tuple[float, int, str, int, int]:
    event = events[index]
    return timeline.at(event), event.clock.lamport, *event.key, index


def _causes(events: Sequence[JournalEvent]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each event, its predecessor in its own process, and the newest event that it first knows of each other."""
    chains: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, event in enumerate(events):
        chains[event.writer.process].append((event.clock[event.writer.process], index))
    for chain in chains.values():
        chain.sort()
    causes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), ())] * len(events)
    for process, chain in chains.items():
        before: JournalEvent | None = None
        own: tuple[int, ...] = ()
        for _, index in chain:
            event = events[index]
            heard = []
            for other, count in event.clock.counts.items():
                if other != process and other in chains and (before is None or count > before.clock[other]):
                    place = bisect_right(chains[other], (count, len(events)))
                    if place:
                        heard.append(chains[other][place - 1][1])
            causes[index] = own, _nearest(events, heard)
            before, own = event, (index,)
    return causes


def _nearest(events: Sequence[JournalEvent], heard: Sequence[int]) -> tuple[int, ...]:
    """Without those that are known only by way of another of them."""

    def known_by(index: int, other: int) -> bool:
        process = events[index].writer.process
        return other != index and events[other].clock[process] >= events[index].clock[process]

    return tuple(index for index in heard if not any(known_by(index, other) for other in heard))


def _placed(
    events: Sequence[JournalEvent],
    timeline: Timeline,
    causes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    order: Sequence[int],
) -> list[Placed]:
    numbers = {index: number for number, index in enumerate(order, 1)}
    placed = []
    before: JournalEvent | None = None
    for index in order:
        event = events[index]
        heard = tuple(sorted(numbers[cause] for cause in causes[index][1]))
        concurrent = before is not None and relation(before, event) is Relation.CONCURRENT
        placed.append(Placed(numbers[index], event, timeline.at(event), heard, concurrent))
        before = event
    return placed
