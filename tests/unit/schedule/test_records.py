"""The `slots` record, as other programs read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from leasekit.errors import ProtocolError
from leasekit.schedule.records import LINES_KEPT, Line, Outcome, SlotsRecord, dump_slots, load_slots

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_record_says_all_its_fields_and_is_read_back() -> None:
    run = Line(NOON, Outcome.FAILED, 2, 41, "nightly", "w1", "host", 7, "2026-11-23T12:00:01.000Z", None, "exit 3")
    record = SlotsRecord(NOON, "0 12 * * *", "Europe/Paris", (run,))
    value = dump_slots(record)
    assert json.loads(value) == {
        "schema": 1,
        "mark": "2026-11-23T12:00:00Z",
        "schedule": "0 12 * * *",
        "tz": "Europe/Paris",
        "runs": [
            {
                "slot": "2026-11-23T12:00:00Z",
                "outcome": "failed",
                "attempt": 2,
                "token": 41,
                "election": "nightly",
                "id": "w1",
                "host": "host",
                "pid": 7,
                "claimed": "2026-11-23T12:00:01.000Z",
                "ended": None,
                "detail": "exit 3",
                "count": 1,
            }
        ],
    }
    assert load_slots(value) == record


def test_the_last_lines_are_kept_and_whatever_still_runs() -> None:
    record = SlotsRecord(NOON, None, "UTC").with_lines(Line(NOON, Outcome.CLAIMED, 1, 1))
    for number in range(1, 2 * LINES_KEPT):
        slot = NOON + timedelta(seconds=number)
        record = record.with_lines(Line(slot, Outcome.DONE, 1, number + 1))
    assert len(record.lines) == LINES_KEPT + 1
    assert record.lines[0].outcome is Outcome.CLAIMED
    assert record.mark == NOON + timedelta(seconds=2 * LINES_KEPT - 1)
    assert record.ended(1, Outcome.DONE, None, None).lines[0].outcome is Outcome.DONE


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b'{"schema":2}', b'{"schema":1}', b'{"schema":1,"mark":"soon","schedule":null,"tz":"UTC","runs":[]}'],
)
def test_what_is_no_record_is_a_protocol_error(value: bytes) -> None:
    with pytest.raises(ProtocolError, match="slots record"):
        load_slots(value)
