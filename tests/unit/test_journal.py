"""What a process writes into its journal, on virtual time; and what becomes of a journal in a fork."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from leasekit import journal as journals
from leasekit.core import records
from leasekit.core.journal_event import JournalEvent, Kind, load
from leasekit.core.logical import Relation
from leasekit.core.records import Keys, LeaderRecord
from leasekit.errors import ConfigError, LossReason
from leasekit.fencing.contract import Rule
from leasekit.journal import OFF, Journal
from leasekit.store import Put
from leasekit.tenure import Tenure
from support.virtual import ELECTION, TTL_S, World, virtual

KEYS = Keys(ELECTION)


class Book:
    """A journal in a file of its own, to be read back."""

    def __init__(self, folder: Path, name: str, world: World) -> None:
        self.path = folder / name
        self.journal = Journal(self.path, clock=world.clock)

    def events(self, *kinds: Kind) -> list[JournalEvent]:
        assert self.journal.flush(10)
        found = [load(line) for line in self.path.read_bytes().splitlines()] if self.path.exists() else []
        return [event for event in found if not kinds or event.kind in kinds]

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events()]


async def elected(campaign: asyncio.Task[Tenure | None]) -> Tenure:
    tenure = await asyncio.wait_for(campaign, timeout=600)
    assert tenure is not None
    return tenure


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journals")


@virtual
async def test_a_leadership_from_campaign_to_resignation(world: World, folder: Path) -> None:
    book = Book(folder, "a", world)
    elector, tenure = await world.process(journal=book.journal).leader("a")
    await elector.resign(tenure, timeout_s=5)
    assert book.kinds()[:3] == ["campaign", "elected", "resigned"]
    campaign, won, resigned = book.events()[:3]
    assert campaign.text("store") == elector._store.url
    assert (won.election, won.id, won.token) == (ELECTION, "a", tenure.token)
    assert won.deadline_s == pytest.approx(won.boot_s + TTL_S * 0.99 - 0.05)
    assert (resigned.token, resigned.text("reason")) == (tenure.token, "resigned")
    assert [event.seq for event in book.events()] == list(range(1, len(book.events()) + 1))


@virtual
async def test_renewals_are_told_seldom_and_the_end_tells_the_last_deadline(world: World, folder: Path) -> None:
    book = Book(folder, "a", world)
    process = world.process(journal=book.journal)
    elector, tenure = await process.leader("a")
    await world.pass_time(10 * TTL_S)
    renewed = book.events(Kind.RENEWED)
    assert 5 <= len(renewed) <= 10
    assert sum(event.details["renewals"] for event in renewed) == pytest.approx(30, abs=4)
    assert {event.details["lease"] for event in renewed} == {book.events(Kind.ELECTED)[0].details["lease"]}
    before = tenure.deadline
    assert before is not None
    await elector.resign(tenure, timeout_s=5)
    (resigned,) = book.events(Kind.RESIGNED)
    assert resigned.deadline_s == pytest.approx(before.boot_s)


@virtual
async def test_a_late_renewal_is_told_at_once(world: World, folder: Path) -> None:
    book = Book(folder, "a", world)
    process = world.process(journal=book.journal)
    await process.leader("a")
    process.network.go_down()
    await world.pass_time(TTL_S * 0.8)
    process.network.come_up()
    await world.pass_time(TTL_S * 0.1)
    late = book.events(Kind.RENEWED)[-1]
    assert 0 < late.details["least_left_s"] < TTL_S / 3


@virtual
async def test_a_deadline_that_passed_is_told_when_it_was_noticed(world: World, folder: Path) -> None:
    book = Book(folder, "a", world)
    process = world.process(journal=book.journal)
    _, tenure = await process.leader("a")
    process.network.go_down()
    world.clock.suspend(3 * TTL_S)
    assert tenure.loss is LossReason.DEADLINE
    process.network.come_up()
    await world.pass_time(TTL_S)
    (lost,) = book.events(Kind.LOST)
    assert lost.text("reason") == "deadline"
    assert lost.deadline_s is not None
    assert lost.boot_s > lost.deadline_s + TTL_S, "not the deadline of the renewals that came later"


async def handover(world: World, first: Journal, second: Journal) -> tuple[int, list[dict[str, int]]]:
    """`a` leads, `b` waits, `a` resigns; returns a's token, and how many requests of each kind the two made."""
    one, other = world.process(journal=first), world.process(journal=second)
    elector, tenure = await one.leader("a")
    waiting = asyncio.create_task(other.candidate("b").campaign(once=False, timeout_s=None))
    await world.pass_time(1)
    await elector.resign(tenure, timeout_s=5)
    await elected(waiting)
    await world.pass_time(1)
    return tenure.token, [dict(process.network.requests) for process in (one, other)]


@virtual
async def test_a_journal_costs_no_request(world: World, folder: Path) -> None:
    a, b = (Book(folder, name, world) for name in ("a", "b"))
    _, without = await handover(World(world.clock), OFF, OFF)
    _, with_journals = await handover(World(world.clock), a.journal, b.journal)
    assert with_journals == without


@virtual
async def test_the_clock_travels_in_the_leader_record(world: World, folder: Path) -> None:
    a, b = (Book(folder, name, world) for name in ("a", "b"))
    token, _ = await handover(world, a.journal, b.journal)
    (saw,) = [event for event in b.events(Kind.OBSERVED) if event.token == token]
    assert saw.text("leader") == "a"
    campaign, won = a.events(Kind.CAMPAIGN, Kind.ELECTED)
    assert campaign.clock.compared(saw.clock) is Relation.BEFORE
    assert won.clock.compared(saw.clock) is Relation.CONCURRENT, "it knows of the claim, not of the winning"
    entry = await world.store.get(KEYS.leader, timeout_s=5)
    assert entry is not None
    record = records.load_leader(entry.value)
    assert isinstance(record, LeaderRecord)
    assert set(record.clock) == {campaign.writer.process, saw.writer.process}


@virtual
async def test_a_transfer_comes_before_the_election_of_the_one_that_was_named(world: World, folder: Path) -> None:
    a, b = (Book(folder, name, world) for name in ("a", "b"))
    elector, tenure = await world.process(journal=a.journal).leader("a")
    waiting = asyncio.create_task(world.process(journal=b.journal).candidate("b").campaign(once=False, timeout_s=None))
    await world.pass_time(1)
    assert await elector.transfer(tenure, "b", timeout_s=5)
    await elected(waiting)
    (handed,) = a.events(Kind.TRANSFERRED)
    (won,) = b.events(Kind.ELECTED)
    assert handed.clock.compared(won.clock) is Relation.BEFORE


@virtual
async def test_without_a_journal_the_record_has_no_clock(world: World) -> None:
    await world.process().leader("a")
    entry = await world.store.get(KEYS.leader, timeout_s=5)
    assert entry is not None
    assert json.loads(entry.value)["clock"] == {}


@virtual
async def test_a_clock_that_no_leasekit_wrote_is_passed_over(world: World, folder: Path) -> None:
    record = json.loads(records.dump_leader(LeaderRecord(id="x", host="h", pid=1, ttl_s=TTL_S, since="", base=0)))
    lease = await world.store.grant(TTL_S, timeout_s=5)
    value = json.dumps({**record, "clock": {"x": "many", "y": -1}}).encode()
    await world.store.transact((), (Put(KEYS.leader, value, lease.id),), timeout_s=5)
    book = Book(folder, "a", world)
    waiting = asyncio.create_task(
        world.process(journal=book.journal).candidate("a").campaign(once=False, timeout_s=None)
    )
    await elected(waiting)
    assert book.events(Kind.OBSERVED)[0].text("leader") == "x"
    assert all(set(event.clock) == {event.writer.process} for event in book.events())


@virtual
async def test_a_campaign_that_was_not_won_is_told(world: World, folder: Path) -> None:
    book = Book(folder, "b", world)
    await world.process().leader("a")
    assert await world.process(journal=book.journal).candidate("b").campaign(once=True, timeout_s=5) is None
    assert book.kinds()[0] == "campaign"
    assert book.kinds()[-1] == "withdrew"


def test_what_a_guard_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(journals.JOURNAL_VARIABLE, str(tmp_path / "j"))
    Rule.of("table", "nightly").refusal(3, 9)
    journal = journals.of_process()
    assert journal.flush(10)
    # What earlier tests left running may be told as well.
    events = [load(line) for line in (tmp_path / "j").read_bytes().splitlines()]
    (event,) = [event for event in events if event.kind is Kind.FENCED]
    assert (event.election, event.token) == ("nightly", 3)
    assert event.details == {"resource": "table", "highest": 9}


def test_no_journal_is_written_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journals.JOURNAL_VARIABLE, raising=False)
    assert not journals.of_process().on
    monkeypatch.setenv(journals.JOURNAL_VARIABLE, "")
    assert not journals.of_process().on


def test_one_process_has_one_journal_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(journals.JOURNAL_VARIABLE, "j")
    first = journals.of_process()
    monkeypatch.setenv(journals.JOURNAL_VARIABLE, str(tmp_path / "j"))
    assert journals.of_process() is first


@pytest.mark.parametrize("name", ["nowhere/j", "."])
def test_a_file_that_cannot_be_one_is_refused_when_it_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        journals.write_to(tmp_path / name)
    assert refused.value.field == "--journal"


_FORKS = """
import os, sys
from leasekit import journal

def tell(journal_, word):
    journal_.campaign("reports", word, store="memory://")
    assert journal_.flush(10)

mine = journal.of_process()
tell(mine, "parent")
if (child := os.fork()) == 0:
    tell(mine, "child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
tell(mine, "parent again")
print(child)
"""


def test_a_fork_goes_on_in_a_file_of_its_own_after_what_the_parent_knew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", _FORKS],
        env={journals.JOURNAL_VARIABLE: str(path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    before, after = (load(line) for line in path.read_bytes().splitlines())
    (child,) = (load(line) for line in (tmp_path / f"j-{done.stdout.strip()}.jsonl").read_bytes().splitlines())
    assert (before.id, child.id, after.id) == ("parent", "child", "parent again")
    assert child.writer.process != before.writer.process == after.writer.process
    assert before.clock.compared(child.clock) is Relation.BEFORE
    assert after.clock.compared(child.clock) is Relation.CONCURRENT
    assert child.seq == 1
