"""The laws of logical clocks, and that they say what truly happened before what."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasekit.core.logical import LIMIT, NEVER, Relation, VectorClock, lamport_after, read

names = st.sampled_from("abcdef")
clocks = st.dictionaries(names, st.integers(0, 4)).map(VectorClock)


def at_most(one: VectorClock, other: VectorClock) -> bool:
    """The textbook's order, spelled out over all that could be named."""
    return all(one[name] <= other[name] for name in "abcdef")


@given(clocks, clocks)
def test_before_is_every_counter_at_most_and_one_less(one: VectorClock, other: VectorClock) -> None:
    expected = {
        (True, True): Relation.EQUAL,
        (True, False): Relation.BEFORE,
        (False, True): Relation.AFTER,
        (False, False): Relation.CONCURRENT,
    }[at_most(one, other), at_most(other, one)]
    assert one.compared(other) is expected
    assert (one == other) is (expected is Relation.EQUAL)


@given(clocks)
def test_nothing_is_before_itself(one: VectorClock) -> None:
    assert one.compared(one) is Relation.EQUAL


@given(clocks, clocks)
def test_before_and_after_are_each_others_mirror(one: VectorClock, other: VectorClock) -> None:
    mirror = {Relation.BEFORE: Relation.AFTER, Relation.AFTER: Relation.BEFORE}
    seen = one.compared(other)
    assert other.compared(one) is mirror.get(seen, seen)


@given(clocks, clocks, clocks)
def test_before_is_transitive(one: VectorClock, two: VectorClock, three: VectorClock) -> None:
    # Merged, so that a chain is not a rare find.
    two = one.merged(two)
    three = two.merged(three)
    if one.compared(two) is Relation.BEFORE and two.compared(three) is Relation.BEFORE:
        assert one.compared(three) is Relation.BEFORE


@given(clocks, clocks)
def test_equal_vectors_have_one_hash_in_whatever_order_they_stand(one: VectorClock, other: VectorClock) -> None:
    turned = VectorClock(dict(reversed(list(one.counts.items()))))
    assert turned == one
    assert hash(turned) == hash(one)
    if one == other:
        assert hash(one) == hash(other)


@given(clocks, clocks, clocks)
def test_merge_is_the_least_upper_bound(one: VectorClock, other: VectorClock, bound: VectorClock) -> None:
    merged = one.merged(other)
    assert at_most(one, merged) and at_most(other, merged)
    if at_most(one, bound) and at_most(other, bound):
        assert at_most(merged, bound)


@given(clocks, clocks, clocks)
def test_merging_knows_no_order_and_no_repetition(one: VectorClock, two: VectorClock, three: VectorClock) -> None:
    assert one.merged(two) == two.merged(one)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(one) == one
    assert one.merged(NEVER) == one


@given(clocks, names)
def test_the_next_event_is_after_all_that_was_known(one: VectorClock, process: str) -> None:
    after = one.tick(process)
    assert one.compared(after) is Relation.BEFORE
    assert after.lamport == after[process] == lamport_after(*one.counts.values())


# Against what truly happened: processes that act, send and receive.


@dataclass(frozen=True)
class Move:
    """`process` has an event; if `hears` is given, one that follows a message of that process's newest event."""

    process: str
    hears: str | None


histories = st.lists(st.builds(Move, names, st.none() | names), max_size=40)


def played(moves: list[Move], *, limit: int) -> list[tuple[VectorClock, frozenset[int]]]:
    """For each event its vector, and the numbers of the events that happened before it."""
    latest: dict[str, int] = {}
    events: list[tuple[VectorClock, frozenset[int]]] = []
    for move in moves:
        heard = [latest[who] for who in {move.process, move.hears or move.process} if who in latest]
        clock, past = NEVER, frozenset[int]()
        for number in heard:
            clock = clock.merged(events[number][0])
            past |= events[number][1] | {number}
        latest[move.process] = len(events)
        events.append((clock.tick(move.process, limit=limit), past))
    return events


@given(histories)
def test_vectors_say_exactly_what_happened_before_what(moves: list[Move]) -> None:
    events = played(moves, limit=LIMIT)
    for number, (clock, past) in enumerate(events):
        for earlier in range(number):
            expected = Relation.BEFORE if earlier in past else Relation.CONCURRENT
            assert events[earlier][0].compared(clock) is expected


@given(histories)
def test_what_happened_before_has_a_lower_lamport_time(moves: list[Move]) -> None:
    events = played(moves, limit=LIMIT)
    for clock, past in events:
        assert all(events[earlier][0].lamport < clock.lamport for earlier in past)


@given(histories, st.integers(1, 5))
def test_a_vector_that_forgets_invents_no_order(moves: list[Move], limit: int) -> None:
    events = played(moves, limit=limit)
    for number, (clock, past) in enumerate(events):
        assert len(clock) <= limit
        for earlier in range(number):
            seen = events[earlier][0].compared(clock)
            assert seen in ({Relation.BEFORE, Relation.CONCURRENT} if earlier in past else {Relation.CONCURRENT})


def test_what_is_forgotten_first_is_whom_nothing_was_heard_of_for_longest() -> None:
    clock = VectorClock({"old": 9, "busy": 1, "me": 3}).merged(VectorClock({"busy": 2, "new": 1}))
    assert set(clock.tick("me", limit=3)) == {"busy", "new", "me"}


def test_an_event_has_at_most_64_entries() -> None:
    clock = NEVER
    for number in range(200):
        clock = clock.tick(f"p{number}")
    assert len(clock) == 64
    assert clock.lamport == 200


# What stands in records.


@given(clocks)
def test_a_vector_is_read_as_it_was_written(clock: VectorClock) -> None:
    written = {name: count for name, count in clock.counts.items() if count}
    assert read(written) == clock


@pytest.mark.parametrize(
    "garbage",
    [None, [], "a", {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": 0}, {"a": -1}, {"a": 2**53}, {"": 1}, {"x" * 301: 1}],
)
def test_what_is_no_vector_is_refused(garbage: object) -> None:
    with pytest.raises(ValueError, match=r"vector clock|process|counter"):
        read(garbage)


def test_a_vector_with_too_many_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        read({f"p{number}": 1 for number in range(65)})
