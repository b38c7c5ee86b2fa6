"""The arithmetic of deadlines (DESIGN section 5)."""

from __future__ import annotations

import pytest

from leasekit.clock import Instant
from leasekit.core.lease import DRIFT, MARGIN_FLOOR_S, Belief, check_timing, margin_s
from leasekit.errors import ConfigError, LossReason

SENT = Instant(100.0, 500.0)
NOBODY = Belief(epoch=0)


def held(ttl_s: float = 10.0) -> Belief:
    return NOBODY.granted("lease", ttl_s, sent_at=SENT, now=SENT)


def test_without_a_lease_nothing_is_trusted() -> None:
    assert not NOBODY.trusted(SENT)
    assert NOBODY.remaining_s(SENT) == 0.0


def test_trust_counts_from_the_moment_of_sending_and_ends_a_margin_early() -> None:
    belief = NOBODY.granted("lease", 10.0, sent_at=SENT, now=SENT.plus(3.0))
    last = 10.0 - margin_s(10.0)
    assert belief.trusted(SENT.plus(last - 0.001))
    assert not belief.trusted(SENT.plus(last))
    assert belief.remaining_s(SENT.plus(3.0)) == pytest.approx(last - 3.0)


def test_either_clock_ends_it() -> None:
    """CLOCK_BOOTTIME is slewed, CLOCK_MONOTONIC_RAW stops in suspend: whichever says that it is late is right."""
    belief = held()
    assert not belief.trusted(Instant(SENT.boot_s + 10.0, SENT.raw_s))
    assert not belief.trusted(Instant(SENT.boot_s, SENT.raw_s + 10.0))


def test_the_margin_covers_drift_and_a_floor() -> None:
    assert margin_s(100.0) == pytest.approx(100.0 * DRIFT + MARGIN_FLOOR_S)


def test_a_grant_that_took_longer_than_its_ttl_is_not_trusted() -> None:
    belief = NOBODY.granted("lease", 10.0, sent_at=SENT, now=SENT.plus(10.0))
    assert not belief.trusted(SENT.plus(10.0))
    assert belief.lease_id == "lease"
    assert belief.ended is LossReason.DEADLINE


def test_a_renewal_in_time_goes_on_with_the_epoch() -> None:
    before = held()
    after = before.renewed(10.0, sent_at=SENT.plus(5.0), now=SENT.plus(6.0))
    assert after.epoch == before.epoch
    assert after.trusted(SENT.plus(14.0))


def test_a_renewal_after_the_deadline_begins_another_epoch() -> None:
    """The store still knew the lease, but what was over stays over (rule 6)."""
    before = held()
    after = before.renewed(10.0, sent_at=SENT.plus(11.0), now=SENT.plus(11.0))
    assert after.trusted(SENT.plus(12.0))
    assert after.epoch > before.epoch


def test_a_renewal_sent_in_time_but_answered_after_the_old_deadline_is_another_epoch() -> None:
    """Whoever asked in between was told that it is over."""
    before = held()
    after = before.renewed(10.0, sent_at=SENT.plus(9.0), now=SENT.plus(11.0))
    assert after.epoch > before.epoch


def test_a_renewal_may_grant_another_ttl() -> None:
    after = held().renewed(4.0, sent_at=SENT, now=SENT)
    assert not after.trusted(SENT.plus(4.0))
    assert after.ttl_s == 4.0


def test_looking_at_the_clock_ends_the_epoch_once() -> None:
    late = SENT.plus(20.0)
    once = held().checked(late)
    assert once.ended is LossReason.DEADLINE
    assert once.epoch == held().epoch + 1
    assert once.checked(late) == once
    assert held().checked(SENT) == held()


def test_a_lost_lease_is_forgotten_with_its_reason() -> None:
    lost = held().lost(LossReason.REVOKED)
    assert (lost.lease_id, lost.ended) == (None, LossReason.REVOKED)
    assert lost.epoch > held().epoch
    assert not lost.trusted(SENT)


def test_a_claim_wants_more_than_a_third_of_the_ttl() -> None:
    belief = held(9.0)
    left = 9.0 - margin_s(9.0)
    assert not belief.too_short_to_claim(SENT.plus(left - 3.01))
    assert belief.too_short_to_claim(SENT.plus(left - 2.99))
    assert belief.too_short_to_claim(SENT.plus(20.0))


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_ttl_that_is_no_duration_is_refused(ttl_s: float) -> None:
    with pytest.raises(ConfigError) as refused:
        check_timing(ttl_s=ttl_s)
    assert refused.value.field == "ttl_s"


def test_a_ttl_that_the_margin_eats_up_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        check_timing(ttl_s=MARGIN_FLOOR_S)
    assert refused.value.field == "ttl_s"


@pytest.mark.parametrize("grace_s", [-0.1, 7.0, 10.0, 100.0])
def test_a_grace_that_leaves_no_time_to_work_is_refused(grace_s: float) -> None:
    with pytest.raises(ConfigError) as refused:
        check_timing(ttl_s=10.0, grace_s=grace_s)
    assert refused.value.field == "grace_s"


def test_usual_timings_are_accepted() -> None:
    check_timing(ttl_s=15.0, grace_s=5.0)
    check_timing(ttl_s=1.0)
