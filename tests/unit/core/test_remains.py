"""Keys that nobody owns any more are removed for certain (ELECTION.md, rules 11 and 12)."""

from __future__ import annotations

from leasekit.clock import Instant
from leasekit.core import events as e
from leasekit.core.contest import DOUBT_MIN_S, Phase
from leasekit.core.remains import Remains, Verdict
from leasekit.store import Entry
from support.contests import KEYS, TTL_S, Candidate, Desk

NOW = Instant(100.0, 100.0)
LATER = Instant(200.0, 200.0)
NOTHING: tuple[tuple[Entry, ...], ...] = ((), ())


def remains(*, doubt_until: Instant | None = None) -> Remains:
    return Remains(KEYS, "a", "A", give_up_at=LATER, doubt_until=doubt_until)


def ask(desk: Desk, asked: Remains, now: Instant = NOW) -> tuple[Remains, Verdict]:
    """Carry out the next request, as the keeper does."""
    committed = desk.transact(*asked.request())
    if committed is None:
        return asked.refused()
    return asked.looked(committed.reads, now) if asked.found is None else asked.deleted(now)


def test_a_look_that_finds_nothing_settles_it() -> None:
    assert ask(Desk(), remains())[1] is Verdict.SETTLED


def test_both_keys_on_the_lease_are_deleted_at_once() -> None:
    desk = Desk()
    desk.queue_up("a", lease_id="A")
    desk.elect("a", lease_id="A")
    found, verdict = ask(desk, remains())
    assert verdict is Verdict.NOW
    _, verdict = ask(desk, found)
    assert verdict is Verdict.SETTLED
    assert desk.store.entries == ()


def test_keys_of_others_are_let_be() -> None:
    desk = Desk()
    desk.queue_up("a", lease_id="another life of a")
    desk.elect("b", lease_id="A")
    before = desk.store.entries
    assert ask(desk, remains())[1] is Verdict.SETTLED
    assert desk.store.entries == before


def test_what_changed_since_the_look_is_looked_at_again() -> None:
    desk = Desk()
    desk.queue_up("a", lease_id="A")
    found, _ = ask(desk, remains())
    desk.elect("a", lease_id="A")
    desk.queue_up("a", lease_id="A")
    again, verdict = ask(desk, found)
    assert (again.found, verdict) == (None, Verdict.NOW)
    found, _ = ask(desk, again)
    assert ask(desk, found)[1] is Verdict.SETTLED
    assert desk.store.entries == ()


def test_while_a_late_write_is_possible_a_clean_look_settles_nothing() -> None:
    assert remains(doubt_until=LATER).looked(NOTHING, NOW)[1] is Verdict.LATER


def test_only_a_look_that_begins_after_the_doubt_settles_it() -> None:
    # The first clean look may have been read before the last late write was applied.
    after, verdict = remains(doubt_until=NOW).looked(NOTHING, NOW)
    assert verdict is Verdict.NOW
    assert after.looked(NOTHING, NOW)[1] is Verdict.SETTLED


def test_a_late_write_between_look_and_deletion_is_found() -> None:
    desk = Desk()
    desk.queue_up("a", lease_id="A")
    found, _ = ask(desk, remains(doubt_until=LATER))
    desk.elect("a", lease_id="A")
    after, verdict = ask(desk, found, LATER)
    while verdict is Verdict.NOW:
        after, verdict = ask(desk, after, LATER)
    assert verdict is Verdict.SETTLED
    assert desk.store.entries == ()


def test_without_an_answer_it_waits_for_the_next_renewal_and_at_last_for_a_revocation() -> None:
    assert remains().unanswered(NOW)[1] is Verdict.LATER
    assert remains().unanswered(LATER)[1] is Verdict.REVOKE


def test_a_record_whose_deletion_was_sent_counts_as_led() -> None:
    """A candidacy that takes over would otherwise adopt it, and lose it to that deletion when it is applied late."""
    desk = Desk()
    revision = desk.elect("a", lease_id="A")
    found, _ = ask(desk, remains())
    after, _ = found.unanswered(NOW)
    assert after.led == revision


# What a contest leaves.


def test_a_campaign_given_up_before_it_looked_answers_for_an_earlier_one() -> None:
    """It took the earlier one's remains over, so it must not drop them."""
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    candidate.feed(e.GiveUp())
    earlier = candidate.only(e.Disown).remains
    candidate.feed(e.Campaign())
    candidate.answered()
    candidate.feed(e.GiveUp())
    assert candidate.only(e.Disown).remains.keys == earlier.keys


def test_a_try_that_saw_that_it_is_too_late_leaves_nothing() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.feed(e.Campaign(once=True))
    candidate.answered()
    candidate.answered()
    assert candidate.actions == (e.NotElected(),)
    assert candidate.desk.entry(KEYS.candidate("a")) is None


def test_a_write_under_way_when_the_campaign_ends_leaves_a_doubt() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    candidate.feed(e.GiveUp())
    assert candidate.only(e.Disown).remains.doubt_until == candidate.now.plus(2 * TTL_S)


def test_a_doubt_lasts_for_some_seconds_however_short_the_ttl() -> None:
    """A server that stalls may apply a write long after a short ttl."""
    short = Candidate(ttl_s=1.0)
    short.feed(e.Campaign())
    short.feed(e.GiveUp())
    assert short.only(e.Disown).remains.doubt_until == short.now.plus(DOUBT_MIN_S)


def test_a_resignation_after_a_doubt_is_looked_after_even_when_the_doubt_is_over() -> None:
    """The late write may have come between the resignation and its reply."""
    candidate = Candidate()
    candidate.feed(e.Campaign())
    candidate.unanswered()
    candidate.feed(e.Wake())
    candidate.until(Phase.LEADING)
    candidate.elapse(2 * TTL_S + 1)
    candidate.feed(e.Resign())
    candidate.answered()
    assert candidate.only(e.Released).confirmed
    assert candidate.only(e.Disown).remains.doubt_until is not None
