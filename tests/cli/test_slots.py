"""`leasekit slots`: what it prints, in every form."""

from __future__ import annotations

import json
import signal

import pytest

from support.command import Command

YEARLY = ("@yearly", "--max-late", "10000h", "--once")


@pytest.fixture
def run(cli: Command) -> Command:
    """A job of which one slot was run."""
    assert cli("cron", "job", *YEARLY, "--tz", "Europe/Paris", "--id", "me", "--", "sh", "-c", "exit 3").code == 3
    return cli


def test_a_job_that_nobody_has_served_has_no_slots(cli: Command) -> None:
    done = cli("slots", "job", "-o", "json")
    assert done.json == {"schema": 1, "job": "job", "schedule": None, "tz": None, "mark": None, "slots": []}
    assert cli("slots", "job", "-o", "ndjson").out == ""
    table = cli("slots", "job")
    assert table.code == 0
    assert "no worker has ever served 'job'" in table.err


def test_json_is_stable(run: Command) -> None:
    told = run("slots", "job", "-o", "json").json
    assert list(told) == ["schema", "job", "schedule", "tz", "mark", "slots"]
    assert (told["schedule"], told["tz"]) == ("@yearly", "Europe/Paris")
    (line,) = told["slots"]
    assert list(line) == [
        "slot", "outcome", "attempt", "token", "election", "id", "host", "pid", "claimed", "ended", "detail", "count"
    ]  # fmt: skip
    assert told["mark"] == line["slot"]
    assert line["slot"].endswith("-12-31T23:00:00Z")
    assert (line["outcome"], line["attempt"], line["id"], line["detail"]) == ("failed", 1, "me", "exit 3")
    assert json.loads(run("slots", "job", "-o", "ndjson").out) == {"schema": 1, **line}


def test_the_table_and_tsv_show_the_same(run: Command) -> None:
    head, row = run("slots", "job").out.splitlines()
    assert head.split() == ["SLOT", "OUTCOME", "COUNT", "ATTEMPT", "TOKEN", "ID", "CLAIMED", "ENDED", "DETAIL"]
    cells = run("slots", "job", "-o", "tsv").out.rstrip("\n").split("\t")
    assert (cells[1], cells[5], cells[8]) == ("failed", "me", "exit 3")
    assert row.split() == " ".join(cells).split()


def test_what_is_to_come_is_told_by_the_schedule_that_workers_have(run: Command) -> None:
    told = run("slots", "job", "--next", "2", "-o", "json").json
    assert list(told) == ["schema", "job", "schedule", "tz", "next", "workers"]
    first, second = told["next"]
    assert list(first) == ["slot", "local", "in_s"]
    assert first["local"].endswith("-01-01T00:00:00+01:00")
    assert int(second["slot"][:4]) == int(first["slot"][:4]) + 1
    assert 0 <= first["in_s"] < second["in_s"]
    assert told["workers"] == []
    table = run("slots", "job", "--next", "2")
    assert table.out.split()[:3] == ["SLOT", "LOCAL", "IN"]
    assert "no worker serves 'job' now" in table.err
    assert len(run("slots", "job", "--next", "2", "-o", "tsv").out.splitlines()) == 2


def test_what_is_to_come_is_told_by_the_crontab_s_new_line(run: Command) -> None:
    later = ("0 4 1 1 *", "--max-late", "10000h", "--once", "--tz", "Europe/Paris")
    assert run("cron", "job", *later, "--", "true").code == 0
    told = run("slots", "job", "--next", "1", "-o", "json").json
    assert told["schedule"] == "0 4 1 1 *"
    assert told["next"][0]["local"].endswith("-01-01T04:00:00+01:00")


def test_what_is_to_come_can_be_asked_for_before_there_is_a_job(cli: Command) -> None:
    refused = cli("slots", "job", "--next", "1")
    assert refused.code == 78
    assert "--schedule" in refused.err
    told = cli("slots", "job", "--next", "3", "--schedule", "30 2 * * *", "--tz", "Asia/Tokyo", "-o", "json").json
    assert [one["local"][10:] for one in told["next"]] == ["T02:30:00+09:00"] * 3
    assert cli("slots", "job", "-o", "json").json["mark"] is None, "nothing was written"


def test_who_would_run_it_is_shown_until_it_ends(cli: Command) -> None:
    workers = [cli.start("cron", "job", "@yearly", "--id", id, "--", "true") for id in ("one", "two")]
    told = cli.until(
        lambda done: done.code == 0 and len(done.json["workers"]) == 2, "slots", "job", "--next", "1", "-o", "json"
    ).json  # fmt: skip
    assert [(one["id"], one["pid"]) for one in told["workers"]] == [("one", workers[0].pid), ("two", workers[1].pid)]
    assert list(told["workers"][0]) == ["id", "host", "pid", "since"]
    table = cli("slots", "job", "--next", "1")
    assert "one" in table.out and "two" in table.out and table.err == ""
    workers[0].signal(signal.SIGTERM)
    assert workers[0].end().code == 0
    told = cli("slots", "job", "--next", "1", "-o", "json").json
    assert [one["id"] for one in told["workers"]] == ["two"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--schedule", "@daily"), 2),
        (("--next", "1", "--tz", "UTC"), 2),
        (("--next", "1", "--schedule", "nonsense"), 78),
    ],
)
def test_what_will_not_do_is_refused(cli: Command, arguments: tuple[str, ...], code: int) -> None:
    assert cli("slots", "job", *arguments).code == code
