"""The main commands, on SQLite, etcd, Consul and leasekit's own store alike."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from support.command import Command, Running

# Many commands, each of which takes seconds on a machine that is busy enough.
pytestmark = pytest.mark.timeout(300)

# Not to run out while a busy machine takes its time.
TTL_S = 30.0
# Short enough to see one run out; Consul keeps one for twice that.
SHORT_TTL_S = 6.0
FOR_EVER = "while :; do sleep 0.05; done"


def lead(cli: Command, id: str, *, name: str = "job", ttl_s: float = TTL_S) -> Running:
    """A run that leads, and goes on until it is ended."""
    running = cli.start("run", name, "--id", id, "--ttl", str(ttl_s), "--", "sh", "-c", f"echo up; {FOR_EVER}")
    running.line_with("up")
    return running


def queue(cli: Command, id: str, *, name: str = "job", ttl_s: float = TTL_S) -> Running:
    """A run that waits behind the leader."""
    running = cli.start("run", name, "--id", id, "--ttl", str(ttl_s), "--", "sh", "-c", f"echo up; {FOR_EVER}")
    cli.until(lambda done: id in done.out, "candidates", name)
    return running


def test_before_anybody_leads(any_cli: Command) -> None:
    leader = any_cli("leader", "job")
    assert (leader.code, leader.out) == (1, "")
    assert any_cli("leader", "job", "-o", "json").json == {"schema": 1, "election": "job", "leader": None}
    assert any_cli("is-leader", "job", "--id", "anybody").code == 1
    assert any_cli("candidates", "job", "-o", "json").json == {"schema": 1, "candidates": []}
    assert any_cli("history", "job", "-o", "json").json == {"schema": 1, "leaderships": []}
    assert any_cli("status", "-o", "json").json == {"schema": 1, "elections": []}
    assert any_cli("resign", "job").code == 1
    assert any_cli("transfer", "job", "--to", "me").code == 1


def test_who_leads_and_who_queues(any_cli: Command) -> None:
    running = lead(any_cli, "first")
    queue(any_cli, "second")
    assert any_cli("leader", "job").out == "first\n"
    leader = any_cli("leader", "job", "-o", "json").json["leader"]
    assert set(leader) == {"id", "token", "host", "pid", "since", "ttl_s", "meta"}
    assert (leader["id"], leader["pid"]) == ("first", running.pid)
    assert any_cli("is-leader", "job", "--id", "first").code == 0
    assert any_cli("is-leader", "job", "--id", "second").code == 1
    positions = [line.split("\t")[:2] for line in any_cli("candidates", "job", "-o", "tsv").out.splitlines()]
    assert positions == [["1", "first"], ["2", "second"]]

    (job,) = any_cli("status", "-o", "json").json["elections"]
    assert (job["election"], job["state"], job["leader"]) == ("job", "led", leader)
    assert [candidate["id"] for candidate in job["candidates"]] == ["first", "second"]
    assert any_cli("status", "job", "-o", "json").json["elections"] == [job]


def test_a_killed_leader_is_replaced_and_the_history_says_so(any_cli: Command) -> None:
    first = lead(any_cli, "first", ttl_s=SHORT_TTL_S)
    token = any_cli("leader", "job", "-o", "json").json["leader"]["token"]
    second = queue(any_cli, "second")
    first.signal(signal.SIGKILL)
    second.line_with("up")
    assert any_cli("leader", "job", "-o", "json").json["leader"]["token"] > token
    past = any_cli.until(
        lambda done: len(done.json["leaderships"]) == 2, "history", "job", "-o", "json"
    ).json["leaderships"]  # fmt: skip
    assert [(line["id"], line["reason"]) for line in past] == [("first", "expired"), ("second", None)]
    assert past[0]["token"] == token


def test_watch_tells_each_change(any_cli: Command) -> None:
    watching = any_cli.start("watch", "job", "-o", "ndjson")
    assert json.loads(watching.line())["leader"] is None
    running = lead(any_cli, "me")
    told = json.loads(watching.line())
    assert (told["election"], told["leader"]["id"]) == ("job", "me")
    running.signal(signal.SIGTERM)
    assert json.loads(watching.line())["leader"] is None
    watching.signal(signal.SIGINT)
    done = watching.end()
    assert (done.code, done.err.strip()) == (130, "")


def test_status_watches_all_elections_of_the_store(any_cli: Command) -> None:
    watching = any_cli.start("status", "-w", "-o", "ndjson")
    seen: dict[str, str] = {}

    def until(election: str, state: str) -> None:
        while seen.get(election) != state:
            told = json.loads(watching.line())
            seen[told["election"]] = told["state"]

    a = lead(any_cli, "me", name="a")
    until("a", "led")
    lead(any_cli, "me", name="b")
    until("b", "led")
    a.signal(signal.SIGTERM)
    until("a", "vacant")


def test_a_leader_that_is_asked_to_resign_stops_its_command_first(any_cli: Command, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    script = f"trap 'touch {stopped}; exit' TERM; echo up; {FOR_EVER}"
    first = any_cli.start("run", "job", "--id", "first", "--ttl", str(TTL_S), "--", "sh", "-c", script)
    first.line_with("up")
    second = queue(any_cli, "second")
    assert any_cli("resign", "job").code == 0
    second.line_with("up")
    assert stopped.exists()
    done = first.end()
    assert done.code == 79
    assert "resigned" in done.err
    past = any_cli("history", "job", "-o", "json").json["leaderships"]
    assert [line["reason"] for line in past][:1] == ["resigned"]


def test_a_leader_that_is_asked_to_transfer_hands_over_to_whom_is_named(any_cli: Command) -> None:
    first = lead(any_cli, "first")
    queue(any_cli, "second")
    third = queue(any_cli, "third")
    done = any_cli("transfer", "job", "--to", "third")
    assert done.code == 0, done
    third.line_with("up")
    assert any_cli("leader", "job").out == "third\n"
    ended = first.end()
    assert ended.code == 79
    assert "transferred" in ended.err


def test_a_transfer_to_somebody_who_does_not_queue_changes_nothing(any_cli: Command) -> None:
    lead(any_cli, "first")
    done = any_cli("transfer", "job", "--to", "nobody")
    assert done.code == 78
    assert "'nobody'" in done.err
    assert any_cli("leader", "job").out == "first\n"


def test_a_stopped_leader_does_not_answer_and_is_deposed_by_force(any_cli: Command) -> None:
    # Stopped, and still in office all the while; the deposed leader's ttl is waited out in the end.
    first = lead(any_cli, "first", ttl_s=15)
    second = queue(any_cli, "second")
    asked = any_cli("resign", "job", "--force")
    assert asked.code == 78, "nobody can be asked here, so --yes is needed"
    first.signal(signal.SIGSTOP)
    unanswered = any_cli("resign", "job", "--wait", "1")
    assert unanswered.code == 75
    assert "--force" in unanswered.err
    assert any_cli("resign", "job", "--force", "--yes").code == 0
    assert any_cli("leader", "job").code == 1
    second.line_with("up")
    assert any_cli("leader", "job").out == "second\n"
    first.signal(signal.SIGCONT)
    assert first.end().code == 79


def test_doctor_finds_a_healthy_store(any_cli: Command) -> None:
    found = any_cli("doctor", "--ttl", "10", "-o", "json").json
    assert found["ok"] is True
    assert found["ttl"] == {"asked_s": 10.0, "granted_s": 10.0}
    assert found["failover_within_s"] >= 10.0
    assert [endpoint["error"] for endpoint in found["endpoints"]] == [None]
    assert found["endpoints"][0]["version"]
    assert any_cli("status", "-o", "json").json["elections"] == [], "nothing was written"
