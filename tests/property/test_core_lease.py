"""Beliefs under any sequence of grants, renewals, losses and looks at the clock."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from leasekit.clock import Instant
from leasekit.core.lease import DRIFT, Belief, margin_s
from leasekit.errors import LossReason

ttls = st.floats(min_value=0.5, max_value=60.0)
short = st.floats(min_value=0.0, max_value=40.0)


@dataclass(frozen=True)
class Event:
    """Something befalls a lease, `after_s` after the last thing; a request was sent `took_s` before."""

    kind: str
    after_s: float
    raw_after_s: float
    took_s: float
    ttl_s: float


events = st.lists(
    st.builds(Event, st.sampled_from(["grant", "renew", "check", "lose"]), short, short, short, ttls), max_size=20
)


def follow(event: Event, belief: Belief, now: Instant) -> Belief:
    sent_at = now.plus(-event.took_s)
    if event.kind == "grant":
        return belief.granted(f"{belief.epoch}", event.ttl_s, sent_at=sent_at, now=now)
    if event.kind == "renew" and belief.lease_id is not None:
        return belief.renewed(event.ttl_s, sent_at=sent_at, now=now)
    if event.kind == "lose":
        return belief.lost(LossReason.EXPIRED)
    return belief.checked(now)


def course(happened: list[Event]) -> list[tuple[Instant, Event, Belief]]:
    """The beliefs after each event, and when."""
    now, belief, beliefs = Instant(1000.0, 5000.0), Belief(epoch=0), []
    for event in happened:
        # Two clocks that drift apart as they like.
        now = Instant(now.boot_s + event.after_s, now.raw_s + event.raw_after_s)
        belief = follow(event, belief, now)
        beliefs.append((now, event, belief))
    return beliefs


@given(events)
def test_trust_never_lasts_beyond_the_ttl_less_a_margin_from_sending(happened: list[Event]) -> None:
    granted_until: float | None = None
    for now, event, belief in course(happened):
        if event.kind in ("grant", "renew") and belief.lease_id is not None:
            granted_until = now.boot_s - event.took_s + event.ttl_s - margin_s(event.ttl_s)
        if belief.trusted(now):
            assert granted_until is not None
            assert now.boot_s < granted_until
            assert belief.remaining_s(now) <= granted_until - now.boot_s + 1e-6


@given(events)
def test_an_epoch_never_falls(happened: list[Event]) -> None:
    epochs = [belief.epoch for _, _, belief in course(happened)]
    assert epochs == sorted(epochs)


@given(events, st.lists(short, max_size=5))
def test_trust_that_ended_does_not_come_back_in_the_same_epoch(happened: list[Event], looks: list[float]) -> None:
    """A leadership remembers its epoch, and may ask the clock at any moment between two events."""
    trusted: set[int] = set()
    over: set[int] = set()
    seen = course(happened)
    ends = [now for now, _, _ in seen[1:]] + [Instant(1e9, 1e9)]
    for (now, _, belief), end in zip(seen, ends, strict=False):
        for moment in [now, *(now.plus(after_s) for after_s in sorted(looks))]:
            if moment is not now and moment.reached(end):
                break
            if belief.trusted(moment):
                assert belief.epoch not in over
                trusted.add(belief.epoch)
            elif belief.epoch in trusted:
                over.add(belief.epoch)


@given(ttls, st.floats(min_value=1 - DRIFT, max_value=1 + DRIFT))
def test_the_store_outlasts_a_holder_whose_clock_is_off_by_the_bound(ttl_s: float, rate: float) -> None:
    """The store counts from when it received the request, at its own rate."""
    sent_at = Instant(0.0, 0.0)
    belief = Belief(epoch=0).granted("lease", ttl_s, sent_at=sent_at, now=sent_at)
    store_gives_up_at = sent_at.plus(ttl_s / rate)
    assert not belief.trusted(store_gives_up_at)
