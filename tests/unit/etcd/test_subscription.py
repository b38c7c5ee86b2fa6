"""One watch: what its consumer is told, and from where it goes on after the stream broke."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.watches import Epoch, Subscription
from leasekit.errors import AuthError
from leasekit.store import Changed, Entry, Resync


def put(key: str, revision: int) -> Changed:
    return Changed(key, Entry(key, b"%d" % revision, revision, revision, None), revision)


def subscription(after: int = 10) -> Subscription:
    return Subscription(b"p/a", b"p/b", after)


def header(*, cluster: int = 1, term: int = 3, revision: int = 50) -> rpc.ResponseHeader:
    return rpc.ResponseHeader(cluster_id=cluster, raft_term=term, revision=revision)


async def taken(watch: Subscription, count: int) -> list[Changed | Resync | None]:
    async with asyncio.timeout(30):
        return [await watch.next() for _ in range(count)]


def test_it_asks_for_what_comes_after_what_is_known() -> None:
    create = subscription(after=10).request(4).create_request
    assert (create.key, create.range_end, create.start_revision, create.watch_id) == (b"p/a", b"p/b", 11, 4)
    assert create.progress_notify


def test_it_goes_on_after_the_last_change_told_to_it() -> None:
    watch = subscription(after=10)
    watch.tell(put("a", 12))
    watch.tell(put("b", 15))
    assert watch.request(1).create_request.start_revision == 16


def test_news_that_nothing_happened_moves_it_on() -> None:
    watch = subscription(after=10)
    watch.progress(40)
    assert watch.request(1).create_request.start_revision == 41
    watch.progress(30)
    assert watch.request(1).create_request.start_revision == 41


async def test_changes_are_told_in_order() -> None:
    watch = subscription()
    for revision, key in enumerate("cab", start=11):
        watch.tell(put(key, revision))
    assert await taken(watch, 3) == [put("c", 11), put("a", 12), put("b", 13)]


async def test_of_several_untaken_changes_of_a_key_the_last_is_told_in_its_place() -> None:
    watch = subscription()
    watch.tell(put("a", 11))
    watch.tell(put("b", 12))
    watch.tell(put("a", 13))
    assert await taken(watch, 2) == [put("b", 12), put("a", 13)]


async def test_a_change_taken_is_not_told_again() -> None:
    watch = subscription()
    watch.tell(put("a", 11))
    assert await taken(watch, 1) == [put("a", 11)]
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    watch.tell(put("a", 12))
    assert await waiting == put("a", 12)


async def test_a_gap_is_told_before_what_follows_it_and_forgets_what_preceded() -> None:
    watch = subscription()
    watch.tell(put("a", 11))
    watch.resync(40)
    watch.tell(put("b", 41))
    assert await taken(watch, 2) == [Resync(40), put("b", 41)]


def test_after_a_gap_changes_are_told_from_the_revision_that_was_named() -> None:
    watch = subscription(after=10)
    watch.resync(40)
    assert watch.request(1).create_request.start_revision == 40


def test_a_gap_may_lead_back_in_time() -> None:
    watch = subscription(after=900)
    watch.resync(7)
    assert watch.request(1).create_request.start_revision == 7


async def test_closing_ends_it() -> None:
    watch = subscription()
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.sleep(0)
    watch.close()
    assert await waiting is None


async def test_what_cannot_be_mended_is_raised() -> None:
    watch = subscription()
    watch.fail(AuthError("no"))
    with pytest.raises(AuthError):
        await watch.next()


# Is it still the same store?


def test_an_answer_of_the_store_that_was_watched_is_not_doubted() -> None:
    watch = subscription(after=10)
    assert not watch.doubts(header())
    assert not watch.doubts(header(term=4, revision=10))


@pytest.mark.parametrize("later", [header(cluster=2), header(term=2), header(revision=9)])
def test_another_cluster_an_older_term_or_a_lower_revision_is_doubted(later: rpc.ResponseHeader) -> None:
    watch = subscription(after=10)
    assert not watch.doubts(header())
    assert watch.doubts(later)


def test_a_store_is_recognised_by_its_cluster_and_term_and_so_is_the_one_after_it() -> None:
    watch = subscription(after=10)
    assert not watch.doubts(header(term=3))
    assert watch.recognises(header(term=5))
    assert not watch.recognises(header(term=2)), "a restored store starts its terms anew"
    assert watch.recognises(header(term=2))
    assert not watch.recognises(header(cluster=9, term=7))


def test_every_answer_of_the_store_itself_moves_its_term_on() -> None:
    watch = subscription(after=10)
    assert not watch.doubts(header(term=3))
    assert not watch.doubts(header(term=6))
    assert watch.doubts(header(term=5)), "below the term that was seen last"


def test_an_epoch_precedes_itself_and_later_terms() -> None:
    assert Epoch(1, 3).may_precede(Epoch(1, 3))
    assert Epoch(1, 3).may_precede(Epoch(1, 4))
    assert not Epoch(1, 3).may_precede(Epoch(1, 2))
    assert not Epoch(1, 3).may_precede(Epoch(2, 4))
