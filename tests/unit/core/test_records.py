"""Records as other programs read them: DESIGN section 4."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from leasekit.core import records
from leasekit.core.records import (
    HISTORY_LENGTH,
    CandidateRecord,
    HoldRecord,
    Keys,
    LeaderRecord,
    PastLeadership,
    RequestRecord,
)
from leasekit.errors import ConfigError, ProtocolError

CANDIDATE = CandidateRecord("a", "host", 7, -3, 15.0, {"zone": "north", "größe": [1, 2]})
LEADER = LeaderRecord("a", "host", 7, 15.0, "2026-01-02T03:04:05.000Z", 40, {"zone": "north"}, {"a": 3})
REQUEST = RequestRecord(41, "transfer", "b")
PAST = PastLeadership(41, "a", "2026-01-02T03:04:05.000Z", None, None)

LOADERS: list[Callable[[bytes], Any]] = [
    records.load_candidate,
    records.load_leader,
    records.load_request,
    records.load_history,
]


def test_every_record_comes_back_as_it_went() -> None:
    assert records.load_candidate(records.dump_candidate(CANDIDATE)) == CANDIDATE
    assert records.load_leader(records.dump_leader(LEADER)) == LEADER
    assert records.load_leader(records.dump_hold(HoldRecord("A", 15.0))) == HoldRecord("A", 15.0)
    assert records.load_request(records.dump_request(REQUEST)) == REQUEST
    assert records.load_request(records.dump_request(RequestRecord(1, "resign", None))).to is None
    assert records.load_history(records.dump_history([PAST])) == (PAST,)
    assert records.load_base(records.dump_base(12345678901234567890)) == 12345678901234567890


def test_records_are_json_with_all_keys_and_a_schema() -> None:
    assert json.loads(records.dump_candidate(CANDIDATE)).keys() == {
        "schema", "id", "host", "pid", "priority", "ttl_s", "meta",
    }  # fmt: skip
    leader = json.loads(records.dump_leader(LEADER))
    assert leader.keys() == {"schema", "id", "host", "pid", "ttl_s", "since", "base", "meta", "clock"}
    assert leader["schema"] == 1


def test_a_hold_shows_a_reader_who_knows_none_that_nobody_leads() -> None:
    hold = json.loads(records.dump_hold(HoldRecord("A", 15.0)))
    assert hold["id"] is None
    assert hold.keys() - {"hold"} == json.loads(records.dump_leader(LEADER)).keys()


def test_unknown_keys_are_ignored() -> None:
    later = json.loads(records.dump_leader(LEADER)) | {"colour": "green"}
    assert records.load_leader(json.dumps(later).encode()) == LEADER


@pytest.mark.parametrize("load", LOADERS)
def test_a_later_schema_is_refused(load: Callable[[bytes], Any]) -> None:
    with pytest.raises(ProtocolError, match="schema 2"):
        load(b'{"schema": 2}')


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("value", [b"", b"\xff", b"null", b"[]", b"17", b"{}", b'{"schema": 1}', b"not JSON"])
def test_what_no_leasekit_wrote_is_a_protocol_error(load: Callable[[bytes], Any], value: bytes) -> None:
    with pytest.raises(ProtocolError):
        load(value)


@pytest.mark.parametrize(("key", "value"), [("pid", "many"), ("meta", 3), ("clock", [1]), ("base", None), ("hold", 1)])
def test_a_garbled_field_is_a_protocol_error(key: str, value: object) -> None:
    garbled = json.loads(records.dump_leader(LEADER)) | {key: value}
    with pytest.raises(ProtocolError, match="leader record"):
        records.load_leader(json.dumps(garbled).encode())


@pytest.mark.parametrize("value", [b"", b"1.5", b"one"])
def test_a_base_that_is_no_integer_is_a_protocol_error(value: bytes) -> None:
    with pytest.raises(ProtocolError, match="base"):
        records.load_base(value)


def test_the_history_keeps_the_newest() -> None:
    past = [PastLeadership(token, "a", "", None, None) for token in range(1, HISTORY_LENGTH + 11)]
    kept = records.load_history(records.dump_history(past))
    assert len(kept) == HISTORY_LENGTH
    assert kept[-1].token == past[-1].token


def test_keys_of_an_election_stand_under_its_name() -> None:
    keys = Keys("reports")
    assert keys.leader == "reports/leader"
    assert keys.candidate("a").startswith(keys.queue)
    assert keys.history == "reports/history"
    assert keys.request == "reports/request"


@pytest.mark.parametrize("name", ["reports", "a", "eu.west:reports_2@x+y-z", "0" * 200])
def test_names_that_fit_every_store_are_accepted(name: str) -> None:
    assert records.check_name("name", name) == name


@pytest.mark.parametrize("name", ["", "a/b", "-a", ".", "a b", "a\n", "größe", "0" * 201])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        records.check_name("name", name)
    assert refused.value.field == "name"
