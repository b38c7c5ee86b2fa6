"""Who is told of which changes, and how far a watch has seen."""

from __future__ import annotations

from leasekit.backends.raft.requests import Event
from leasekit.backends.raft.server.watches import PROGRESS_EVERY_REVISIONS, Watches
from leasekit.store import Changed


def gone(key: str, revision: int) -> Changed:
    return Changed(key, None, revision)


def test_a_watch_hears_of_its_key_and_of_no_other() -> None:
    watches = Watches()
    watches.add(("client", 1), "a", prefix=False)
    watches.note([gone("a", 5), gone("ab", 5)])
    assert watches.take_events(5) == [("client", Event(id=1, changes=(gone("a", 5),), revision=5))]
    assert watches.take_events(5) == []


def test_a_watch_of_a_prefix_hears_of_all_keys_under_it_in_order() -> None:
    watches = Watches()
    watches.add(("client", 1), "a", prefix=True)
    watches.note([gone("ab", 5), gone("b", 5)])
    watches.note([gone("a", 6)])
    assert watches.take_events(6) == [("client", Event(id=1, changes=(gone("ab", 5), gone("a", 6)), revision=6))]


def test_who_is_gone_is_told_nothing() -> None:
    watches = Watches()
    watches.add(("left", 1), "a", prefix=False)
    watches.add(("stays", 1), "a", prefix=False)
    watches.remove_all_of("left")
    watches.note([gone("a", 5)])
    assert [client for client, _ in watches.take_events(5)] == ["stays"]


def test_a_watch_whose_keys_rest_is_told_now_and_then_how_far_it_has_seen() -> None:
    watches = Watches()
    watches.add(("client", 1), "quiet", prefix=False)
    told = [event for revision in range(1, 5 * PROGRESS_EVERY_REVISIONS) for event in watches.take_events(revision)]
    assert [event.revision for _, event in told] == [n * PROGRESS_EVERY_REVISIONS for n in range(1, 5)]
    assert all(event.changes == () and not event.resync for _, event in told)
