"""`leasekit cron`, as real processes over an SQLite file: what is run, what is not, what is told, how it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leasekit.cli.cron_once import EARLY_MAX_S, claim
from leasekit.cli.options import Settings
from leasekit.cli.session import Session
from leasekit.cli.slot_run import Terms
from leasekit.errors import SlotTooEarly
from leasekit.schedule.job import Job
from support.children import pids_with
from support.command import Command, Running

# Many commands, each of which takes seconds on a machine that is busy enough.
pytestmark = pytest.mark.timeout(300)

# A slot long ago and the next far away: so that no test can happen upon a new one.
YEARLY = ("@yearly", "--max-late", "10000h")
FOR_EVER = "while :; do sleep 0.05; done"
TOLD = 'echo "$LEASEKIT_SLOT $LEASEKIT_ATTEMPT $LEASEKIT_TOKEN"'
LONG = ("--ttl", "60")


def work(cli: Command, *options: str, script: str = TOLD, schedule: str = "every 1s", **more: Any) -> Running:
    """A worker for the job."""
    return cli.start("cron", "job", schedule, *LONG, *options, "--", "sh", "-c", script, **more)


def once(cli: Command, *options: str, script: str = TOLD) -> Running:
    """What a crontab would start."""
    return cli.start("cron", "job", *YEARLY, "--once", *options, "--", "sh", "-c", script)


def lines(cli: Command, *, job: str = "job") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("slots", job, "-n", "64", "-o", "json").json["slots"]
    return found


def until_line(cli: Command, outcome: str, *, slot: str | None = None) -> dict[str, Any]:
    """The first line with this outcome (of that slot), waited for."""

    def such(found: dict[str, Any]) -> bool:
        return found["outcome"] == outcome and slot in (None, found["slot"])

    done = cli.until(lambda done: any(map(such, done.json["slots"])), "slots", "job", "-n", "64", "-o", "json")
    return next(line for line in done.json["slots"] if such(line))


def test_a_worker_runs_slot_after_slot_and_tells_the_command_which(cli: Command) -> None:
    reading, writing = os.pipe()  # nothing is ever written: the command does not wait for it
    script = f'cat; {TOLD}; env | grep ^LEASEKIT_ | sort | tr "\\n" " "; echo'
    worker = work(cli, "--id", "me", script=script, stdin=reading)
    seen = []
    for _ in range(3):
        slot, attempt, token = worker.line().split()
        told = dict(word.split("=", 1) for word in worker.line().split())
        assert told == {
            "LEASEKIT_ATTEMPT": "1",
            "LEASEKIT_ELECTION": "job",
            "LEASEKIT_ID": "me",
            "LEASEKIT_SLOT": slot,
            "LEASEKIT_STORE": cli.store_url,
            "LEASEKIT_TOKEN": token,
        }
        seen.append((slot, attempt, int(token)))
    worker.signal(signal.SIGTERM)
    done = worker.end()
    os.close(reading)
    os.close(writing)
    # By now the next slot may have come, and its run been cut short.
    assert done.code == 0 and all("told to end by SIGTERM" in line for line in done.err.splitlines())
    assert seen == sorted(set(seen))
    assert [attempt for _, attempt, _ in seen] == ["1", "1", "1"]
    kept = {line["slot"]: line for line in lines(cli) if line["attempt"]}
    assert [kept[slot]["token"] for slot, _, _ in seen] == [token for _, _, token in seen]
    assert [kept[slot]["outcome"] for slot, _, _ in seen[:2]] == ["done", "done"]
    assert kept[seen[0][0]]["id"] == "me"


def test_of_two_workers_one_runs_each_slot(cli: Command, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = f"echo $LEASEKIT_SLOT >> {ran}; echo up"
    workers = [work(cli, script=script), work(cli, script=script)]
    cli.until(lambda _: ran.exists() and len(ran.read_text().split()) >= 4, "slots", "job")
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.end().code == 0
    slots = ran.read_text().split()
    assert len(slots) == len(set(slots))


def test_a_command_that_fails_is_written_down_and_the_worker_goes_on(cli: Command, tmp_path: Path) -> None:
    report = tmp_path / "report"
    worker = work(cli, "--report", str(report), script="echo up; exit 3")
    for _ in range(2):
        worker.line_with("up")
    line = until_line(cli, "failed")
    assert (line["detail"], line["count"], line["election"]) == ("exit 3", 1, "job")
    worker.signal(signal.SIGTERM)
    done = worker.end()
    assert done.code == 0
    assert f"slot {line['slot']} failed: exit 3" in done.err
    reports = [json.loads(text) for text in report.read_text().splitlines()]
    assert len(reports) >= 2
    assert set(reports[0]) == {
        "schema", "job", "slot", "id", "attempt", "token", "started", "ended", "outcome", "detail", "exit_code"
    }  # fmt: skip
    first = reports[0]
    assert (first["schema"], first["job"], first["slot"]) == (1, "job", line["slot"])
    assert (first["outcome"], first["detail"], first["exit_code"]) == ("failed", "exit 3", 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_worker_that_is_told_to_end_stops_its_command_and_resigns(
    cli: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    stopped = tmp_path / "stopped"
    worker = work(cli, script=f"trap 'touch {stopped}; exit' TERM; echo up; {FOR_EVER}")
    worker.line_with("up")
    worker.signal(number)
    done = worker.end()
    assert (done.code, stopped.exists()) == (code, True)
    assert until_line(cli, "lost")["detail"] == f"told to end by {number.name}"
    assert cli("leader", "job").code == 1
    assert cli("slots", "job", "--next", "1", "-o", "json").json["workers"] == []


def test_an_idle_worker_ends_at_once(cli: Command) -> None:
    worker = work(cli, schedule="@yearly")
    cli.until(lambda done: done.code == 0 and bool(done.json["workers"]), "slots", "job", "--next", "1", "-o", "json")
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0


def test_slots_that_come_during_a_run_are_skipped(cli: Command) -> None:
    worker = work(cli, script=f"{TOLD}; {FOR_EVER}")
    slot = worker.line().split()[0]
    line = until_line(cli, "skipped")
    assert (line["attempt"], line["token"]) == (0, None)
    assert line["slot"] > slot
    assert [line["slot"] for line in lines(cli) if line["attempt"]] == [slot]


def test_slots_that_come_during_a_run_wait_for_its_end(cli: Command, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    worker = work(cli, "--overlap", "queue_one", script=f"{TOLD}; while ! test -e {go_on}; do sleep 0.05; done")
    first = worker.line().split()[0]
    time.sleep(2.5)  # for slots to come
    assert [line["outcome"] for line in lines(cli) if line["slot"] >= first] == ["claimed"]
    go_on.touch()
    second = worker.line().split()[0]
    done, passed_over, *_ = [line for line in lines(cli) if line["slot"] >= first]
    assert (done["slot"], done["outcome"]) == (first, "done")
    # By `missed`: the latest of those that came is run, the others are not.
    assert passed_over["outcome"] == "missed"
    assert first < passed_over["slot"] < second


def test_a_run_is_stopped_for_the_next_slot(cli: Command) -> None:
    # Far enough apart for a busy machine to start the command.
    worker = work(cli, "--overlap", "cancel_other", script=f"{TOLD}; {FOR_EVER}", schedule="every 5s")
    first, second = worker.line().split(), worker.line().split()
    assert second[0] > first[0] and int(second[2]) > int(first[2])
    # Another one may have been stopped before it had said anything.
    assert until_line(cli, "lost", slot=first[0])["detail"] == "resigned"


def test_runs_go_on_side_by_side(cli: Command) -> None:
    script = f'{TOLD}; echo "in $LEASEKIT_ELECTION"; {FOR_EVER}'
    worker = work(cli, "--overlap", "allow", script=script)
    told = [worker.line_with("in job@") for _ in range(3)]
    assert len(set(told)) == 3
    assert [line["outcome"] for line in lines(cli) if line["attempt"]][:3] == ["claimed"] * 3
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0
    assert {line["outcome"] for line in lines(cli) if line["attempt"]} == {"lost"}
    elections = cli("status", "-o", "json").json["elections"]
    assert [one["election"] for one in elections if one["state"] == "led"] == []


@pytest.mark.parametrize("missed", ["latest", "all", "skip"])
def test_slots_that_nobody_was_there_for(cli: Command, missed: str) -> None:
    first = work(cli)
    first.line()
    first.signal(signal.SIGTERM)
    assert first.end().code == 0
    mark = cli("slots", "job", "-o", "json").json["mark"]
    time.sleep(4)  # for slots to come
    # A slot that waits is not left out for the run of the one before.
    second = work(cli, "--missed", missed, "--overlap", "queue_one")
    slot = second.line().split()[0]
    if missed == "all":
        assert seconds(slot) == seconds(mark) + 1
        assert seconds(second.line().split()[0]) == seconds(slot) + 1
        assert "missed" not in {line["outcome"] for line in lines(cli) if line["slot"] > mark}
    else:
        line = next(line for line in lines(cli) if line["slot"] > mark)
        assert (line["outcome"], line["count"] >= 2) == ("missed", True)
        assert line["slot"] < slot


def seconds(slot: str) -> int:
    return int(time.mktime(time.strptime(slot, "%Y-%m-%dT%H:%M:%SZ")))


def test_a_run_that_an_operator_resigns_is_lost_and_the_worker_goes_on(cli: Command) -> None:
    worker = work(cli, script=f"{TOLD}; {FOR_EVER}", schedule="every 2s")
    first = worker.line().split()[0]
    assert cli("resign", "job").code == 0
    assert worker.line().split()[0] > first
    assert until_line(cli, "lost")["detail"] == "resigned"


def test_once_runs_the_slot_of_now_and_gives_the_commands_code(cli: Command) -> None:
    done = once(cli, script=f"{TOLD}; exit 4").end()
    slot, attempt, _ = done.out.split()
    assert done.code == 4
    assert slot == f"{time.gmtime().tm_year}-01-01T00:00:00Z"
    assert attempt == "1"
    assert [(line["slot"], line["outcome"], line["detail"]) for line in lines(cli)] == [(slot, "failed", "exit 4")]


def test_once_on_two_machines_runs_once_and_the_other_says_nothing(cli: Command) -> None:
    runs = [once(cli, script="echo ran; sleep 1") for _ in range(3)]
    done = [run.end() for run in runs]
    again = once(cli).end()
    assert sorted(one.out for one in done) == ["", "", "ran\n"]
    assert [(one.code, one.err) for one in [*done, again]] == [(0, "")] * 4
    assert again.out == ""
    assert "done" in once(cli, "-v").end().err


def test_once_says_when_nobody_runs_the_slot(cli: Command, tmp_path: Path) -> None:
    report = tmp_path / "report"
    late = cli("cron", "job", "@yearly", "--once", "--max-late", "1", "--report", str(report), "--", "true")
    assert late.code == 75
    assert "too late" in late.err
    running = work(cli, script=f"echo up; {FOR_EVER}")
    running.line_with("up")
    until_line(cli, "skipped")  # so that the slot of now is not the one that runs
    skipped = cli("cron", "job", "every 1s", "--once", "--", "true")
    assert skipped.code == 75
    assert "is not run here" in skipped.err
    told = json.loads(report.read_text())
    assert (told["outcome"], told["exit_code"], told["token"]) == ("missed", 75, None)


def test_once_is_killed_with_its_command_and_the_slot_is_lost_or_run_again(cli: Command, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    first = once(cli, "--ttl", "3", script=f": {mark}; echo $LEASEKIT_TOKEN; {FOR_EVER}")
    token = int(first.line())
    first.signal(signal.SIGKILL)
    cli.until(lambda done: done.code == 1, "leader", "job")
    assert pids_with(mark) == []
    cautious = once(cli).end()
    assert (cautious.code, cautious.out, cautious.err) == (0, "", "")
    assert [(line["outcome"], line["token"]) for line in lines(cli)] == [("lost", token)]


def test_a_run_that_was_killed_is_run_again_if_it_must_be_done(cli: Command) -> None:
    least = ("--guarantee", "at_least_once")
    first = once(cli, "--ttl", "3", *least, script=f"{TOLD}; {FOR_EVER}")
    slot, attempt, token = first.line().split()
    first.signal(signal.SIGKILL)
    cli.until(lambda done: done.code == 1, "leader", "job")
    again = once(cli, *least).end()
    assert again.out.split()[:2] == [slot, "2"]
    assert (attempt, again.code) == ("1", 0)
    assert int(again.out.split()[2]) > int(token)
    kept = [(line["slot"], line["attempt"], line["outcome"]) for line in lines(cli)]
    assert kept == [(slot, 1, "lost"), (slot, 2, "done")]


def test_a_worker_takes_over_what_another_was_told_to_leave_if_it_must_be_done(cli: Command) -> None:
    least = ("--guarantee", "at_least_once", "--overlap", "queue_one")
    first = work(cli, *least, script=f"{TOLD}; {FOR_EVER}")
    slot, _, token = first.line().split()
    second = work(cli, *least)
    first.signal(signal.SIGTERM)
    assert first.end().code == 0
    again = second.line().split()
    assert again[:2] == [slot, "2"]
    assert int(again[2]) > int(token)


def test_a_worker_waits_for_its_store_and_says_so_once(cli: Command, tmp_path: Path) -> None:
    worker = work(cli)
    worker.line()
    with sqlite3.connect(tmp_path / "leases.db", timeout=60, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        give_up = time.monotonic() + 60
        while "does not answer" not in worker.errors():
            assert time.monotonic() < give_up
            time.sleep(0.1)
        other.execute("ROLLBACK")
    other.close()
    seen = worker.line()
    while "answers again" not in worker.errors():
        seen = worker.line()
    assert seen
    worker.signal(signal.SIGTERM)
    done = worker.end()
    assert done.code == 0
    assert done.err.count("does not answer") == done.err.count("answers again") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("61 * * * *",), "bad minute"),
        (("0", "3", "*", "*", "*"), "quotes"),
        (("@daily", "--tz", "Mars/Olympus"), "IANA"),
        (("@daily", "--jitter", "2h"), "jitter_s"),
        (("@daily", "--grace", "14"), "grace_s"),
    ],
)
def test_what_will_not_do_is_refused_before_anything_is_written(
    cli: Command, arguments: tuple[str, ...], says: str
) -> None:
    done = cli("cron", "job", *arguments, "--", "true")
    assert done.code == 78
    assert says in done.err
    assert cli("slots", "job", "-o", "json").json["mark"] is None


@pytest.mark.parametrize("option", [("--missed", "all"), ("--jitter", "30")])
def test_once_is_refused_with_what_only_workers_can_do(cli: Command, option: tuple[str, str]) -> None:
    done = once(cli, *option).end()
    assert (done.code, done.out) == (2, "")
    assert option[0] in done.err and "worker" in done.err


def test_a_command_that_does_not_exist_serves_nothing(cli: Command) -> None:
    assert cli("cron", "job", "@daily", "--", "nonesuch-command").code == 127
    assert cli("cron", "job", "@daily").code == 2


def test_a_slot_is_claimed_and_listed_on_every_store(any_cli: Command) -> None:
    done = any_cli("cron", "job", *YEARLY, "--once", "--id", "me", "--", "sh", "-c", TOLD)
    assert (done.code, done.err) == (0, "")
    slot, attempt, token = done.out.split()
    assert any_cli("cron", "job", *YEARLY, "--once", "--", "sh", "-c", TOLD).out == ""
    (line,) = lines(any_cli)
    assert (line["slot"], line["attempt"], line["token"]) == (slot, int(attempt), int(token))
    assert (line["outcome"], line["id"]) == ("done", "me")
    worker = any_cli.start("cron", "job", "every 1s", "--", "sh", "-c", TOLD)
    assert worker.line().split()[0] > slot
    coming = any_cli("slots", "job", "--next", "1", "-o", "json").json
    assert [one["pid"] for one in coming["workers"]] == [worker.pid]
    worker.signal(signal.SIGTERM)
    assert worker.end().code == 0


@pytest.fixture
def soon(tmp_path: Path) -> Iterator[tuple[Session, Job, Terms]]:
    """A job in this process, for slots that are yet to come."""
    store = Session(Settings(store_url=f"sqlite:///{tmp_path / 'leases.db'}"))
    job = Job("job", "every 1s", connection=store.connection, tz=None, id=None, max_skew_s=0.5)
    terms = Terms(
        command=["true"], environment={}, ttl_s=15, grace_s=5, adopt=False, verbose=False, report=None
    )  # fmt: skip
    yield store, job, terms
    store.run(store.connection.aclose(timeout_s=2))


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_slot_that_a_fast_clock_fired_early_is_waited_for(soon: tuple[Session, Job, Terms]) -> None:
    store, job, terms = soon
    slot = in_s(1.5)
    claimed = store.run(claim(store, job, slot, terms))
    assert claimed is not None
    # The store's time and the clock here are one.
    assert (slot - datetime.now(UTC)).total_seconds() <= 0.5
    store.run(job.give_up(claimed))


def test_a_slot_is_not_waited_for_without_end(soon: tuple[Session, Job, Terms]) -> None:
    store, job, terms = soon
    with pytest.raises(SlotTooEarly):
        store.run(claim(store, job, in_s(EARLY_MAX_S + 10), terms))
    assert store.run(job.record()) is None
