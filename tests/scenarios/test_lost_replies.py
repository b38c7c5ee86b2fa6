"""A request is applied and its reply is lost, or it is applied only after its sender has given up.

In one process, with a connection for each candidate, so that a fault can be ordered for one request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

import leasekit
from leasekit.store import At, Delete, Put
from leasekit.testing import Fault, FaultyStore
from leasekit.testing.faults import Request
from support.site import Site
from support.team import SLACK_S, now_s

LEADER = "team/leader"
TTL_S = 3.0
LATE_S = 3.5


def enqueues(request: Request) -> bool:
    return any(isinstance(op, Put) and op.key.startswith("team/candidates/") for op in request.ops)


def claims(request: Request) -> bool:
    return any(isinstance(op, Put) and op.key == LEADER for op in request.ops)


def resigns(request: Request) -> bool:
    return Delete(LEADER) in request.ops and any(isinstance(c, At) and c.key == LEADER for c in request.compares)


FAULTS = {
    "refused": Fault.refuse(),
    "never arrived": Fault.lose_request(),
    "reply lost": Fault.lose_reply(),
    "reply lost in silence": Fault.lose_reply(silent=True),
    "applied late": Fault.apply_late(0.3),
    "applied much later": Fault.apply_late(LATE_S),
}
on_each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


class Lab:
    """Candidates in this process, each with a connection, a lease and a faulty link of its own."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self.site = site
        self._stack = stack

    def candidate(self, id: str) -> tuple[leasekit.Election, FaultyStore]:
        store = self._stack.enter_context(leasekit.connect(self.site.url))
        # A connection opens its store from a URL alone; only a test puts another in its place.
        faulty = store.connection._store = FaultyStore(store.connection._store)
        # Another leadership on the same lease: it lives on, and with it whatever is left behind there.
        self._stack.enter_context(leasekit.Election(f"beside-{id}", store, ttl_s=TTL_S).campaign(SLACK_S))
        return leasekit.Election("team", store, id=id, ttl_s=TTL_S), faulty

    @property
    def settled_within_s(self) -> float:
        """By then whatever a lost reply left behind must be gone."""
        return 2 * self.site.capabilities.expires_within_s(TTL_S) + SLACK_S

    def wait_for(self, what: Callable[[], bool], means: str) -> None:
        give_up_s = now_s() + self.settled_within_s
        while not what():
            assert now_s() < give_up_s, f"not within {self.settled_within_s:.1f} s: {means}"
            time.sleep(0.02)

    def wait_deserted(self) -> None:
        """Until nobody leads and nobody queues."""
        here = leasekit.Election("team", self.site.store, ttl_s=TTL_S)
        self.wait_for(lambda: (here.leader(), here.candidates()) == (None, []), "an empty election")


@pytest.fixture
def lab(site: Site) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(site, stack)


@on_each_fault
def test_a_claim_in_doubt_is_settled_and_won_once(lab: Lab, fault: Fault) -> None:
    election, store = lab.candidate("one")
    store.inject(fault, "transact", when=claims)
    with election.campaign(lab.settled_within_s) as leadership:
        leader = election.leader()
        assert leader is not None
        assert (leader.id, leader.token) == ("one", leadership.token)
        # What was under way may still arrive; it must change nothing.
        time.sleep(LATE_S)
        assert leadership.valid
        assert election.leader() == leader
    lab.wait_deserted()


@on_each_fault
def test_a_place_in_the_queue_in_doubt_is_had_once(lab: Lab, fault: Fault) -> None:
    first, _ = lab.candidate("first")
    second, store = lab.candidate("second")
    leadership = first.campaign(SLACK_S)
    store.inject(fault, "transact", when=enqueues)
    with pytest.raises(leasekit.NotElected):
        second.campaign(LATE_S)
    leadership.resign()
    lab.wait_deserted()


@on_each_fault
def test_a_queued_claim_in_doubt_is_settled_and_won_once(lab: Lab, fault: Fault) -> None:
    first, _ = lab.candidate("first")
    second, store = lab.candidate("second")
    before = first.campaign(SLACK_S)
    store.inject(fault, "transact", when=lambda request: claims(request) and not enqueues(request))
    with leasekit.connect(lab.site.url) as observer:
        here = leasekit.Election("team", observer, ttl_s=TTL_S)

        def hand_over_once_it_queues() -> None:
            lab.wait_for(lambda: "second" in [candidate.id for candidate in here.candidates()], "second in the queue")
            before.resign()

        with _meanwhile(hand_over_once_it_queues), second.campaign(lab.settled_within_s) as after:
            assert after.token > before.token
            leader = here.leader()
            assert leader is not None
            assert (leader.id, leader.token) == ("second", after.token)
    lab.wait_deserted()


@pytest.mark.parametrize(
    "fault",
    [Fault.lose_reply(silent=True), Fault.apply_late(0.3), Fault.apply_late(LATE_S)],
    ids=["reply lost in silence", "applied late", "applied much later"],
)
def test_a_campaign_given_up_leaves_nothing_though_its_claim_arrives_late(lab: Lab, fault: Fault) -> None:
    election, store = lab.candidate("one")
    store.inject(fault, "transact", when=claims, times=100)
    with pytest.raises(leasekit.NotElected):
        election.campaign(0.2)
    lab.wait_deserted()
    other, _ = lab.candidate("other")
    with other.campaign(SLACK_S) as leadership:
        assert leadership.valid


@on_each_fault
def test_renewals_in_doubt_are_tried_again_and_cost_nothing(lab: Lab, fault: Fault) -> None:
    election, store = lab.candidate("one")
    with election.campaign(SLACK_S) as leadership:
        # Every other renewal, for longer than the lease would last without any.
        for renewal in range(4):
            store.inject(fault, "renew", skip=renewal)
        seen = store.requests["renew"]
        lab.wait_for(lambda: store.requests["renew"] >= seen + 10, "more renewals")
        assert leadership.valid


def test_a_leader_whose_renewals_are_never_confirmed_stops_by_its_deadline(lab: Lab) -> None:
    election, store = lab.candidate("one")
    other, _ = lab.candidate("other")
    leadership = election.campaign(SLACK_S)
    store.inject(Fault.lose_reply(silent=True), "renew", times=1000)
    began_s = now_s()
    assert leadership.wait_lost(TTL_S + SLACK_S) is leasekit.LossReason.DEADLINE
    assert now_s() - began_s < TTL_S + SLACK_S
    # The store was renewing all the while, yet the place is not held for ever.
    with other.campaign(lab.settled_within_s) as after:
        assert after.token > leadership.token


@on_each_fault
def test_a_resignation_in_doubt_ends_belief_at_once_and_leaves_nothing(lab: Lab, fault: Fault) -> None:
    election, store = lab.candidate("one")
    leadership = election.campaign(SLACK_S)
    store.inject(fault, "transact", when=resigns)
    leadership.resign()
    assert not leadership.valid
    lab.wait_deserted()
    with election.campaign(SLACK_S) as again:
        assert again.token > leadership.token


@on_each_fault
def test_a_transfer_in_doubt_ends_with_one_leader_and_with_the_one_named_if_it_was_applied(
    lab: Lab, fault: Fault
) -> None:
    first, store = lab.candidate("first")
    second, _ = lab.candidate("second")
    before = first.campaign(SLACK_S)

    def hand_over() -> None:
        lab.wait_for(lambda: "second" in [candidate.id for candidate in first.candidates()], "second in the queue")
        store.inject(fault, "transact", when=claims)
        before.transfer("second")

    with _meanwhile(hand_over), second.campaign(lab.settled_within_s) as after:
        assert not before.valid
        assert after.token > before.token
        time.sleep(LATE_S)
        assert after.valid
        leader = second.leader()
        assert leader is not None
        assert (leader.id, leader.token) == ("second", after.token)
    lab.wait_deserted()


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Runs `work` in a thread while the block runs; its error is raised at the end."""
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(work)
        yield
        outcome.result()
