"""Errors say by their type what may be concluded, by attributes what happened, and cross process borders."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from leasekit import errors
from leasekit.errors import (
    ConfigError,
    FencingRejected,
    LeadershipLost,
    LeasekitError,
    LeaseLost,
    LossReason,
    NotElected,
    SlotTooEarly,
    StoreUnavailable,
)

EXAMPLES: list[LeasekitError] = [
    errors.StoreUnavailable("down"),
    errors.OutcomeUnknown("no answer"),
    errors.AuthError("who are you"),
    errors.ProtocolError("what is this"),
    errors.LeasekitError("some", "thing"),
    NotElected("too late"),
    LeaseLost("7f3a"),
    LeadershipLost(LossReason.DEADLINE),
    LeadershipLost(LossReason.REVOKED, election="reports", token=12),
    FencingRejected(3, 9),
    FencingRejected(3, 9, resource="table"),
    ConfigError("ttl_s", "is too short"),
    SlotTooEarly("2026-11-23T03:00:00Z", 4.5),
]


def test_there_is_an_example_of_every_kind() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LeasekitError)}
    assert kinds == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: f"{type(error).__name__}-{error}")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling_with_all_their_attributes(error: LeasekitError, protocol: int) -> None:
    error = copy.copy(error)
    error.add_note("seen on the way")
    same = pickle.loads(pickle.dumps(error, protocol))
    assert type(same) is type(error)
    assert (same.args, str(same), vars(same)) == (error.args, str(error), vars(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: f"{type(error).__name__}-{error}")
def test_errors_can_be_copied(error: LeasekitError) -> None:
    same = copy.deepcopy(error)
    assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))


def test_details_are_attributes() -> None:
    lost = LeadershipLost(LossReason.REVOKED, election="reports", token=12)
    assert (lost.reason, lost.election, lost.token) == (LossReason.REVOKED, "reports", 12)
    rejected = FencingRejected(3, 9, resource="table")
    assert (rejected.token, rejected.highest, rejected.resource) == (3, 9, "table")
    assert ConfigError("ttl_s", "is too short").field == "ttl_s"
    assert LeaseLost("7f3a").lease_id == "7f3a"


def test_what_python_programs_expect_to_catch_they_catch() -> None:
    assert issubclass(NotElected, TimeoutError)
    assert issubclass(ConfigError, ValueError)
    assert not issubclass(StoreUnavailable, OSError)


def test_the_message_says_how_to_mend_it() -> None:
    assert "rebase --above 9" in str(FencingRejected(3, 9))
    assert str(LeadershipLost(LossReason.DEADLINE, election="reports")) == "leadership of 'reports' lost: deadline"


def test_the_reasons_are_those_that_other_programs_read() -> None:
    assert {reason.value for reason in LossReason} == {
        "expired",
        "revoked",
        "superseded",
        "deadline",
        "resigned",
        "transferred",
        "forked",
        "closed",
    }
    assert f"{LossReason.DEADLINE}" == "deadline"
