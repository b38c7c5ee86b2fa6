"""What Consul's refusals mean. The texts were taken from Consul 1.8.7."""

from __future__ import annotations

import json

import pytest

from leasekit.backends.consul import failures
from leasekit.backends.consul.wire import Operation
from leasekit.errors import (
    AuthError,
    ConfigError,
    LeasekitError,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    StoreUnavailable,
)

SESSION = "11111111-2222-3333-4444-555555555555"
CHECK: Operation = {"Verb": "check-not-exists", "Key": "p/leader"}
LOCK: Operation = {"Verb": "lock", "Key": "p/leader", "Session": SESSION}


def failure(status: int, text: str, *, writes: bool = True) -> LeasekitError:
    return failures.failure(status, text, agent="a:8500", writes=writes)


def refused(*errors: tuple[int, str], operations: tuple[Operation, ...] = (CHECK, LOCK)) -> LeasekitError | None:
    body = json.dumps({"Results": None, "Errors": [{"OpIndex": index, "What": what} for index, what in errors]})
    return failures.refused(operations, body, agent="a:8500")


@pytest.mark.parametrize("text", ["Permission denied", "ACL not found"])
def test_a_refused_token_names_the_variable(text: str) -> None:
    error = failure(403, text)
    assert isinstance(error, AuthError)
    assert "CONSUL_HTTP_TOKEN" in str(error) and "a:8500" in str(error)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "No cluster leader"),
        (500, "rpc error making call: node is not the leader"),
        (500, "timed out enqueuing operation"),
        (500, "leadership transfer in progress"),
        (500, "Missing node registration"),
        (429, "Your IP is issuing too many concurrent connections, please rate limit your calls\n"),
    ],
)
def test_what_never_entered_the_log_is_surely_not_applied(status: int, text: str) -> None:
    assert isinstance(failure(status, text), StoreUnavailable)


@pytest.mark.parametrize(
    "text", ["leadership lost while committing log", "rpc error making call: EOF", "something nobody has seen yet"]
)
def test_other_failures_leave_a_write_open_and_a_read_harmless(text: str) -> None:
    assert isinstance(failure(500, text, writes=True), OutcomeUnknown)
    assert isinstance(failure(500, text, writes=False), StoreUnavailable)


def test_what_configuration_mends_says_which() -> None:
    for status, text, field in [
        (500, "No path to datacenter", "dc"),
        (500, "Missing check 'web' registration", "checks"),
        (413, "Request body(699104 bytes) too large, max size: 524288 bytes. See txn_max_req_len.", "value"),
        (400, "Client sent an HTTP request to an HTTPS server.", "store URL"),
    ]:
        error = failure(status, text)
        assert isinstance(error, ConfigError)
        assert error.field == field


def test_anything_else_is_a_protocol_error_and_long_texts_are_cut() -> None:
    error = failure(418, "x" * 10_000)
    assert isinstance(error, ProtocolError)
    assert len(str(error)) < 500


def test_a_refused_ttl_names_the_agent_option() -> None:
    text = "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"
    error = failures.session_refused(5, 500, text, agent="a:8500")
    assert isinstance(error, ConfigError)
    assert error.field == "ttl_s"
    assert "session_ttl_min" in str(error) and "[10s=24h0m0s]" in str(error)
    assert isinstance(failures.session_refused(5, 403, "Permission denied", agent="a:8500"), AuthError)


@pytest.mark.parametrize(
    "what",
    [
        'key "p/leader" exists',
        'failed index check for key "p/leader", current modify index 29 != 1',
        'failed to check index, key "p/leader" doesn\'t exist',
    ],
)
def test_a_failed_check_is_a_lost_race(what: str) -> None:
    assert refused((0, what)) is None


def test_a_lost_race_counts_before_a_dead_session() -> None:
    assert refused((0, 'key "p/leader" exists'), (1, f'invalid session "{SESSION}"')) is None


def test_a_key_held_by_another_session_is_a_lost_race() -> None:
    assert refused((1, 'failed to lock key "p/leader", lock is already held')) is None


@pytest.mark.parametrize(
    "what", [f'invalid session "{SESSION}"', "failed session lookup: index error: UUID must be 36 characters"]
)
def test_a_dead_session_is_a_lost_lease(what: str) -> None:
    error = refused((1, what))
    assert isinstance(error, LeaseLost)
    assert error.lease_id == SESSION


def test_a_lock_delay_in_force_is_no_lost_race() -> None:
    error = refused((1, 'failed to lock key "p/leader" due to lock delay'))
    assert isinstance(error, StoreUnavailable)
    assert "lock_delay_s" in str(error)


def test_a_refused_token_counts_before_everything() -> None:
    assert isinstance(refused((0, 'key "p/leader" exists'), (1, "Permission denied")), AuthError)


def test_a_keys_name_is_never_taken_for_a_reason() -> None:
    lock: Operation = {"Verb": "lock", "Key": "invalid session", "Session": SESSION}
    error = refused((0, 'failed to do it to key "invalid session"'), operations=(lock,))
    assert isinstance(error, ProtocolError)


@pytest.mark.parametrize("body", ["", "null", "{}", '{"Errors": null}', '{"Errors": [{"OpIndex": 9, "What": "x"}]}'])
def test_a_refusal_without_a_reason_is_a_protocol_error(body: str) -> None:
    assert isinstance(failures.refused((CHECK,), body, agent="a:8500"), ProtocolError)
