"""Real processes that write journals, and what `leasekit audit` finds in them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import support.journalled
from support.command import Command
from support.pausing import pause

ELECTION = "reports"
TTL_S = 4.0


class Member:
    """A process that campaigns, and writes a journal."""

    def __init__(self, folder: Path, url: str, id: str) -> None:
        self.journal = folder / f"{id}.jsonl"
        self._store_url = url
        script, database = support.journalled.__file__, folder / "work.db"
        self.process = subprocess.Popen(
            [sys.executable, script, url, ELECTION, str(database), "--id", id, "--ttl", str(TTL_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LEASEKIT_JOURNAL": str(self.journal)},
        )
        self.expect("campaigns")

    def expect(self, word: str) -> str:
        """The next line that it prints, which begins with `word`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith(word), line
        return line

    def elected(self) -> int:
        return int(self.expect("elected").split()[1])

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def pause(self) -> None:
        pause(self.process.pid, self._store_url)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.tell("resign")
        self.expect("over")
        assert self.process.wait(30) == 0


@pytest.fixture
def members(tmp_path: Path) -> Iterator[dict[str, Member]]:
    """Started by the test; killed at its end."""
    started: dict[str, Member] = {}
    yield started
    for member in started.values():
        member.process.kill()
        member.process.communicate()


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(None, tmp_path)


def test_a_paused_leader_overlaps_in_belief_and_not_in_validity(
    members: dict[str, Member], cli: Command, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/leases.db"
    first = members["first"] = Member(tmp_path, url, "first")
    token = first.elected()
    first.tell("write")
    first.expect("written")
    second = members["second"] = Member(tmp_path, url, "second")
    # So that its campaign has seen the leader before that stops.
    cli.until(lambda done: "second" in done.out, "--store", url, "candidates", ELECTION)
    first.pause()
    later = second.elected()
    second.tell("write")
    second.expect("written")
    first.tell("write")
    time.sleep(TTL_S)
    first.resume()
    first.expect("refused")
    first.end()
    second.end()

    done = cli("audit", str(first.journal), str(second.journal), "-o", "json")
    assert done.code == 0, done
    assert done.err == ""
    assert done.json["safe"] is True
    (election,) = done.json["elections"]
    stale, fresh = election["leaderships"]
    assert (stale["id"], stale["token"], stale["reason"]) == ("first", token, "deadline")
    assert (fresh["id"], fresh["token"], fresh["reason"]) == ("second", later, "resigned")
    assert stale["believed_late_s"] > TTL_S
    assert stale["valid_until"] < fresh["from"] < stale["believed_until"]
    (overlap,) = election["overlaps"]
    assert overlap["tokens"] == [token, later]
    assert not overlap["valid"] and overlap["valid_s"] == 0
    assert TTL_S <= overlap["believed_s"] < stale["believed_late_s"]
    assert overlap["uncertain_s"] < 0.001, "on one machine moments compare exactly"
    (refused,) = election["refused"]
    assert (refused["token"], refused["details"]["highest"]) == (token, later)
    assert overlap["refused"] == [refused["number"]]

    # The clock came through the store: the second one saw the record of the first, and knows of its campaign.
    events = {event["number"]: event for event in election["events"]}
    saw = next(event for event in events.values() if event["event"] == "observed" and event["id"] == "second")
    assert saw["token"] == token
    assert [events[number]["event"] for number in saw["knowing_of"]] == ["campaign"]
    assert overlap["order"] == "concurrent", "neither knew of the other"

    text = cli("audit", str(first.journal), str(second.journal))
    assert "Two processes believed that they led: once" in text.out
    assert "Fences refused first: once." in text.out

    # The same journals, but for a deadline that was not kept: that is found.
    lines = [json.loads(line) for line in first.journal.read_text().splitlines()]
    (lost,) = (line for line in lines if line["event"] == "lost")
    lost["deadline_s"] += 60
    forged = tmp_path / "forged.jsonl"
    forged.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    bad = cli("audit", str(forged), str(second.journal))
    assert bad.code == 1
    assert bad.out.startswith("TWO VALID LEADERSHIPS OVERLAPPED: once")


def test_a_transfer_is_known_to_have_come_before(cli: Command, tmp_path: Path) -> None:
    command = Command(f"sqlite:///{tmp_path}/leases.db", tmp_path)
    journals = {id: tmp_path / f"{id}.jsonl" for id in ("a", "b")}
    running = {}
    try:
        for id, journal in journals.items():
            arguments = ("run", ELECTION, "--id", id, "--ttl", "30", "--journal", str(journal))
            running[id] = command.start(*arguments, "--", "sh", "-c", "echo up; exec sleep 600")
            command.until(lambda done, id=id: id in done.out, "candidates", ELECTION)  # type: ignore[misc]
        assert command("transfer", ELECTION, "--to", "b").code == 0
        assert running["a"].end().code in (0, 79, 143)
        running["b"].line_with("up")
        running["b"].signal(signal.SIGTERM)
        running["b"].end()
    finally:
        command.close()
    done = cli("audit", *map(str, journals.values()), "-o", "json")
    assert done.code == 0, done
    (election,) = done.json["elections"]
    first, second = election["leaderships"]
    assert (first["id"], first["end"], second["id"]) == ("a", "transferred", "b")
    events = {event["number"]: event for event in election["events"]}
    elected = next(event for event in events.values() if event["event"] == "elected" and event["id"] == "b")
    past = {events[number]["event"] for number in elected["knowing_of"]}
    assert past == {"transferred"}
    assert election["overlaps"] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_journal_that_cannot_be_written_stops_nothing(cli: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/leases.db"
    full = cli("--store", url, "run", ELECTION, "--", "true", environment=cli.environment(LEASEKIT_JOURNAL="/dev/full"))
    assert full.code == 0
    assert full.err.count("/dev/full") == 1
    refused = cli("--store", url, "--journal", str(tmp_path / "nowhere" / "j"), "run", ELECTION, "--", "true")
    assert refused.code == 78
    assert "no directory" in refused.err
