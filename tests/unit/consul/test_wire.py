"""How the contract is said to Consul, and what its answers show."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from leasekit.backends.consul import wire
from leasekit.errors import ConfigError, ProtocolError
from leasekit.store import Absent, At, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put

ROOT = "leasekit/"
SESSION = "11111111-2222-3333-4444-555555555555"


def said(compares: list[Compare], ops: list[Op]) -> list[str]:
    return [f"{o['Verb']} {o['Key']}" for o in wire.transaction(ROOT, compares, ops).operations]


def pair(key: str, revision: int, value: bytes | None = None, *, created: int | None = None) -> dict[str, Any]:
    """A key-value pair as Consul answers it: without its value where it was written or checked."""
    return {
        "KV": {
            "LockIndex": 0,
            "Key": ROOT + key,
            "Flags": 0,
            # An empty value is null too.
            "Value": base64.b64encode(value).decode() if value else None,
            "CreateIndex": revision if created is None else created,
            "ModifyIndex": revision,
        }
    }


def entry(key: str, revision: int, value: bytes = b"") -> Entry:
    return Entry(key, value, revision, revision, None)


def committed(compares: list[Compare], ops: list[Op], *pairs: dict[str, Any], index_before: int = 0) -> Committed:
    body = json.dumps({"Results": list(pairs), "Errors": None})
    return wire.transaction(ROOT, compares, ops).committed(body, index_before)


class TestSaying:
    def test_compares_come_first_and_keys_bear_the_prefix(self) -> None:
        assert said([Absent("e/leader"), At("e/mine", 7)], [Put("e/leader", b"me", SESSION)]) == [
            "check-not-exists leasekit/e/leader",
            "check-index leasekit/e/mine",
            "lock leasekit/e/leader",
        ]

    def test_a_put_deletes_first_unless_the_key_is_known_to_be_absent(self) -> None:
        # Otherwise the old session would stay, and an identical value would not raise the ModifyIndex.
        assert said([], [Put("k", b"v")]) == ["delete leasekit/k", "set leasekit/k"]
        assert said([At("k", 3)], [Put("k", b"v", SESSION)]) == [
            "check-index leasekit/k",
            "delete leasekit/k",
            "lock leasekit/k",
        ]
        assert said([Absent("k")], [Put("k", b"v")]) == ["check-not-exists leasekit/k", "set leasekit/k"]

    def test_values_sessions_and_indexes_are_filled_in(self) -> None:
        check, _, lock = wire.transaction(ROOT, [At("k", 3)], [Put("k", b"\x00\xff", SESSION)]).operations
        assert check["Index"] == 3
        assert base64.b64decode(lock["Value"]) == b"\x00\xff"
        assert lock["Session"] == SESSION

    def test_a_get_never_fails_for_a_missing_key(self) -> None:
        assert said([], [Get("k"), Get("q/", prefix=True)]) == ["get-tree leasekit/k", "get-tree leasekit/q/"]

    def test_only_a_transaction_that_puts_nothing_fetches_its_index_from_a_deletion(self) -> None:
        assert said([], [Delete("a"), Delete("b")]) == [
            "delete leasekit/a",
            "set leasekit/a",
            "delete leasekit/a",
            "delete leasekit/b",
        ]
        assert said([], [Delete("a"), Put("b", b"")]) == ["delete leasekit/a", "delete leasekit/b", "set leasekit/b"]

    def test_reads_and_compares_alone_write_nothing(self) -> None:
        assert not wire.transaction(ROOT, [Absent("a"), At("b", 1)], [Get("c")]).writes
        assert wire.transaction(ROOT, [], [Delete("a")]).writes
        assert wire.transaction(ROOT, [], [Put("a", b"")]).writes

    def test_the_body_is_what_the_endpoint_takes(self) -> None:
        body = json.loads(wire.transaction(ROOT, [At("k", 3)], []).body)
        assert body == [{"KV": {"Verb": "check-index", "Key": "leasekit/k", "Index": 3}}]

    def test_the_limit_counts_what_is_really_sent(self) -> None:
        many: list[Op] = [Put(f"k{n}", b"") for n in range(32)]
        assert len(wire.transaction(ROOT, [], many).operations) == wire.OPERATIONS_MAX
        assert wire.transaction(ROOT, [], many).body
        with pytest.raises(ConfigError, match="66 operations, Consul takes 64"):
            _ = wire.transaction(ROOT, [], [*many, Put("more", b"")]).body

    def test_an_empty_queue_cannot_be_compared(self) -> None:
        with pytest.raises(ConfigError):
            wire.transaction(ROOT, [NoneUnder("q/")], [])

    def test_a_value_above_the_limit_is_refused(self) -> None:
        with pytest.raises(ConfigError) as refused:
            wire.transaction(ROOT, [], [Put("k", b"x" * (wire.REQUEST_MAX_BYTES + 1))])
        assert refused.value.field == "value"

    @pytest.mark.parametrize("key", ["a//b", "../a", "a/./b", "a/..", "."])
    def test_a_key_that_consul_cannot_address_is_refused(self, key: str) -> None:
        # Its HTTP paths are cleaned before they are looked up: the read would be of another key.
        with pytest.raises(ConfigError) as refused:
            wire.transaction(ROOT, [], [Put(key, b"")])
        assert refused.value.field == "key"


class TestReading:
    def test_what_was_put_bears_the_revision(self) -> None:
        assert committed([Absent("a")], [Put("a", b"1"), Put("b", b"2")], pair("a", 9), pair("b", 9)) == Committed(9)

    def test_a_compare_answers_the_key_and_is_passed_over(self) -> None:
        ops: list[Op] = [Put("a", b"1"), Get("a")]
        found = committed([At("a", 5)], ops, pair("a", 5), pair("a", 9), pair("a", 9, b"1"))
        assert found == Committed(9, ((entry("a", 9, b"1"),),))

    def test_a_deletion_bears_the_revision_of_its_own_set(self) -> None:
        assert committed([At("a", 5)], [Delete("a"), Delete("b")], pair("a", 5), pair("a", 9)) == Committed(9)

    def test_a_get_of_a_key_leaves_out_those_that_only_begin_like_it(self) -> None:
        found = committed([], [Get("q/1"), Get("q/2")], pair("q/1", 3), pair("q/10", 4))
        assert found.reads == ((entry("q/1", 3),), ())

    def test_trees_are_told_apart_though_nothing_stands_between_them(self) -> None:
        a, b, c = pair("q/a", 1), pair("q/b", 2), pair("r", 3)
        everything = Get("", prefix=True)
        queue = Get("q/", prefix=True)
        assert [len(r) for r in committed([], [everything, queue], a, b, c, a, b).reads] == [3, 2]
        assert [len(r) for r in committed([], [queue, everything], a, b, a, b, c).reads] == [2, 3]
        assert [len(r) for r in committed([], [queue, everything], c).reads] == [0, 1]
        assert [len(r) for r in committed([], [Get("none"), queue, queue], a, b, a, b).reads] == [0, 2, 2]

    def test_an_empty_value_read_is_told_from_the_put_that_follows(self) -> None:
        # Both look alike but for the index: the key as it was, and the key as it was put.
        ops: list[Op] = [Get("q/", prefix=True), Put("q/b", b""), Get("q/", prefix=True)]
        before = committed([], ops, pair("q/a", 1), pair("q/b", 2), pair("q/b", 9), pair("q/a", 1), pair("q/b", 9))
        assert before.reads == ((entry("q/a", 1), entry("q/b", 2)), (entry("q/a", 1), entry("q/b", 9)))
        new = committed([], ops, pair("q/a", 1), pair("q/b", 9), pair("q/a", 1), pair("q/b", 9))
        assert new.reads == ((entry("q/a", 1),), (entry("q/a", 1), entry("q/b", 9)))

    def test_reads_alone_are_as_of_the_index_before_or_of_what_they_show(self) -> None:
        assert committed([], [Get("a")], index_before=7).revision == 7
        assert committed([], [Get("a")], pair("a", 9, b"1"), index_before=7).revision == 9
        assert committed([At("a", 4)], [], pair("a", 4), index_before=7).revision == 7

    @pytest.mark.parametrize(
        "body",
        [
            "<html>",
            "[]",
            '{"Results": [{"Node": {}}], "Errors": null}',
            '{"Results": [], "Errors": null}',
            json.dumps({"Results": [pair("other", 9)]}),
            json.dumps({"Results": [pair("a", 9), pair("b", 9)]}),
            json.dumps({"Results": [{"KV": {"Key": "a", "Value": "%", "CreateIndex": 1, "ModifyIndex": 1}}]}),
        ],
    )
    def test_an_answer_that_fits_nothing_is_a_protocol_error(self, body: str) -> None:
        with pytest.raises(ProtocolError):
            wire.transaction(ROOT, [], [Put("a", b"")]).committed(body)

    def test_entries_lose_the_prefix_and_keep_the_session(self) -> None:
        held = pair("e/leader", 9, b"me", created=4)["KV"] | {"Session": SESSION}
        assert wire.entries(ROOT, json.dumps([held])) == (Entry("e/leader", b"me", 4, 9, SESSION),)

    @pytest.mark.parametrize("body", ["{}", "null", "nonsense", '[{"Key": "a"}]', "[1]"])
    def test_malformed_entries_are_a_protocol_error(self, body: str) -> None:
        with pytest.raises(ProtocolError):
            wire.entries(ROOT, body)


class TestSessions:
    def test_a_session_depends_on_its_ttl_alone(self) -> None:
        body, granted_s = wire.session_request(15, lock_delay_s=0, checks=())
        assert json.loads(body) == {
            "Name": "leasekit",
            "TTL": "15000ms",
            "Behavior": "delete",
            "LockDelay": "0ms",
            "NodeChecks": [],
            "ServiceChecks": [],
        }
        assert granted_s == 15

    def test_the_ttl_is_rounded_up_to_milliseconds(self) -> None:
        body, granted_s = wire.session_request(1.0001, lock_delay_s=1.5, checks=["serfHealth"])
        assert granted_s == 1.001
        assert json.loads(body)["TTL"] == "1001ms"
        assert json.loads(body)["LockDelay"] == "1500ms"
        assert json.loads(body)["NodeChecks"] == ["serfHealth"]

    @pytest.mark.parametrize(
        ("text", "ttl_s"), [("15000ms", 15), ("1500ms", 1.5), ("1.5s", 1.5), ("1m30s", 90), ("24h0m0s", 86400)]
    )
    def test_a_renewal_answers_the_ttl(self, text: str, ttl_s: float) -> None:
        assert wire.session_ttl_s(json.dumps([{"ID": SESSION, "TTL": text}])) == pytest.approx(ttl_s)

    @pytest.mark.parametrize("body", ["[]", "null", '[{"TTL": "soon"}]', '[{"TTL": ""}]', '[{"TTL": 5}]'])
    def test_a_renewal_without_a_ttl_is_a_protocol_error(self, body: str) -> None:
        with pytest.raises(ProtocolError):
            wire.session_ttl_s(body)

    def test_the_id_is_read_from_the_answer(self) -> None:
        assert wire.session_id(json.dumps({"ID": SESSION})) == SESSION
        with pytest.raises(ProtocolError):
            wire.session_id("{}")


class TestIndex:
    def test_zero_counts_as_one(self) -> None:
        # A blocking query with index 0 answers at once.
        assert wire.index("0") == 1
        assert wire.index("42") == 42

    @pytest.mark.parametrize("header", [None, "", "-1", "soon"])
    def test_a_missing_or_odd_header_is_a_protocol_error(self, header: str | None) -> None:
        with pytest.raises(ProtocolError):
            wire.index(header)
