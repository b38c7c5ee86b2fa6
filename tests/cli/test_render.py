"""Rows for people and for programs."""

from __future__ import annotations

import json

import pytest

from leasekit.cli import render
from leasekit.cli.options import Seconds

ITEMS: list[render.Row] = [{"id": "a", "token": 7, "meta": {"x": 1}}, {"id": "longer", "token": None, "meta": {}}]
COLUMNS = ("id", "token")


def test_a_table_is_aligned_and_shows_nothing_as_a_dash() -> None:
    assert render.rows("table", "items", ITEMS, COLUMNS) == "ID      TOKEN\na       7\nlonger  -"


def test_json_has_all_of_each_item_under_the_schema_number() -> None:
    assert json.loads(render.rows("json", "items", ITEMS, COLUMNS)) == {"schema": 1, "items": ITEMS}


def test_ndjson_is_one_object_a_line() -> None:
    lines = render.rows("ndjson", "items", ITEMS, COLUMNS).splitlines()
    assert [json.loads(line) for line in lines] == [{"schema": 1, **item} for item in ITEMS]


def test_tsv_has_the_columns_alone() -> None:
    assert render.rows("tsv", "items", ITEMS, COLUMNS) == "a\t7\nlonger\t-"


def test_a_record_can_break_neither_columns_nor_terminal() -> None:
    text = render.rows("tsv", "items", [{"id": "a\tb\nc\x1b[2Jd"}], ("id",))
    assert text == "a?b?c?[2Jd"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3600, "1h 00m"),
        (86399, "23h 59m"),
        (90000, "1d 01h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("1.5", 1.5), ("500ms", 0.5), ("90s", 90), ("5m", 300), ("2h", 7200)]
)
def test_durations_from_people(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds
