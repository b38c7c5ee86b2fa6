"""What the answers to a blocking query tell."""

from __future__ import annotations

from leasekit.backends.consul.view import Reads, Target, View
from leasekit.store import Changed, Entry, Resync

KEY = Target("k", prefix=False)
ALL = Target("", prefix=True)


def entry(key: str, revision: int, value: bytes = b"") -> Entry:
    return Entry(key, value, revision, revision, None)


def view(*entries: Entry, index: int) -> View:
    seen = View()
    assert seen.observe(entries, index) == ()
    return seen


def test_the_same_content_under_another_index_tells_nothing() -> None:
    # So it is when a query on a missing key wakes because a sibling was written.
    seen = view(index=5)
    assert seen.observe((), 9) == ()
    assert seen.index == 9


def test_puts_are_told_in_order_of_revision_and_deletions_at_the_answers_index() -> None:
    seen = view(entry("a", 1), entry("b", 2), index=2)
    later = (entry("c", 4), entry("b", 3))
    assert seen.observe(later, 5) == (
        Changed("a", None, 5),
        Changed("b", later[1], 3),
        Changed("c", later[0], 4),
    )


def test_a_key_deleted_and_made_again_is_told_as_a_put() -> None:
    seen = view(entry("k", 3, b"same"), index=3)
    again = entry("k", 7, b"same")
    assert seen.observe((again,), 7) == (Changed("k", again, 7),)


def test_an_index_that_falls_asks_to_look_again() -> None:
    seen = view(entry("k", 30), index=30)
    assert seen.observe((entry("k", 2),), 2) == (Resync(2),)
    assert seen.index == 2
    assert seen.observe((), 3) == (Changed("k", None, 3),)


def test_who_joins_is_told_only_what_is_later_than_it_knows() -> None:
    seen = view(entry("k", 5), index=5)
    assert seen.since(KEY, 5) == ()
    assert seen.since(KEY, 4) == (Changed("k", entry("k", 5), 5),)


def test_a_key_found_gone_is_told_unless_nothing_happened_since() -> None:
    seen = view(index=8)
    assert seen.since(KEY, 7) == (Changed("k", None, 8),)
    assert seen.since(KEY, 8) == ()


def test_a_prefix_joined_late_tells_the_puts_and_to_look_again() -> None:
    # A key may have gone since: the index rose, and Consul does not say why.
    seen = view(entry("a", 3), entry("b", 6), index=6)
    assert seen.since(ALL, 4) == (Changed("b", entry("b", 6), 6), Resync(6))
    assert seen.since(ALL, 6) == ()


def test_only_what_the_target_covers_is_told() -> None:
    seen = view(entry("k", 6), entry("k/x", 7), entry("other", 8), index=8)
    assert seen.since(KEY, 5) == (Changed("k", entry("k", 6), 6),)
    assert seen.since(Target("k/", prefix=True), 5) == (Changed("k/x", entry("k/x", 7), 7), Resync(8))


def test_who_knows_what_was_there_is_told_exactly_what_is_gone() -> None:
    seen = view(entry("a", 3), entry("b", 6), index=6)
    known = (entry("a", 3), entry("gone", 2))
    assert seen.since(ALL, 4, known) == (Changed("gone", None, 6), Changed("b", entry("b", 6), 6))
    assert view(index=9).since(KEY, 4, ()) == ()
    assert view(index=9).since(KEY, 4, (entry("k", 4),)) == (Changed("k", None, 9),)


def test_a_read_is_known_by_its_revision_and_by_what_it_covered() -> None:
    reads = Reads()
    reads.remember(Target("q/", prefix=True), 5, (entry("q/a", 4), entry("q/ab", 5)))
    reads.remember(KEY, 5, ())
    assert reads.known(Target("q/", prefix=True), 5) == (entry("q/a", 4), entry("q/ab", 5))
    assert reads.known(Target("q/ab", prefix=True), 5) == (entry("q/ab", 5),)
    assert reads.known(Target("q/a", prefix=False), 5) == (entry("q/a", 4),)
    assert reads.known(KEY, 5) == ()
    assert reads.known(KEY, 6) is None
    assert reads.known(ALL, 5) is None
    assert reads.known(Target("k", prefix=True), 5) is None
    reads.forget()
    assert reads.known(KEY, 5) is None


def test_old_reads_make_room_for_new_ones() -> None:
    reads = Reads()
    large = tuple(entry(f"{n:05}", n) for n in range(4_000))
    for revision in range(1, 6):
        reads.remember(ALL, revision, large)
    assert [reads.known(ALL, revision) is not None for revision in range(1, 6)] == [False, False, False, True, True]
    for revision in range(10, 20_000):
        reads.remember(KEY, revision, ())
    assert reads.known(KEY, 10) is None
    assert reads.known(KEY, 19_999) == ()
