"""Logs of elections: quiet by default, structured, without secrets, and off the engine's thread."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import leasekit
from leasekit import LossReason
from leasekit.fencing.contract import Rule
from leasekit.observability import Elected, Ended, Event, Outcome, Refused, Renewal, StoreBack, StoreFailing, logs
from leasekit.observability.hub import HUB
from support.virtual import ELECTION, TTL_S, World, virtual

PATIENCE_S = 30.0
PASSWORD = "s3cret-pass"

EVENTS: list[tuple[Event, int, str, dict[str, object]]] = [
    (
        Elected("reports", "me", 7, "etcd://h1/x", 0.0),
        logging.INFO,
        "elected in 'reports', token 7",
        {"event": "elected", "election": "reports", "id": "me", "token": 7, "store": "etcd://h1/x"},
    ),
    (
        Ended("reports", "me", 7, LossReason.DEADLINE, 12.5, 0.0),
        logging.WARNING,
        "leadership of 'reports', token 7, is over: deadline",
        {"event": "lost", "election": "reports", "id": "me", "token": 7, "reason": "deadline", "lasted_s": 12.5},
    ),
    (
        Ended("reports", "me", 7, LossReason.RESIGNED, 12.5, 0.0),
        logging.INFO,
        "leadership of 'reports', token 7, is over: resigned",
        {"event": "resigned", "election": "reports", "id": "me", "token": 7, "reason": "resigned", "lasted_s": 12.5},
    ),
    (
        StoreFailing("etcd://h1/x", True, "StoreUnavailable", "100 % of it is down"),
        logging.WARNING,
        "renewals fail on etcd://h1/x: 100 % of it is down",
        {"event": "renewal_failing", "store": "etcd://h1/x", "error": "StoreUnavailable"},
    ),
    (
        StoreFailing("etcd://h1/x", False, "StoreUnavailable", "down"),
        logging.WARNING,
        "no lease granted on etcd://h1/x: down",
        {"event": "store_unreachable", "store": "etcd://h1/x", "error": "StoreUnavailable"},
    ),
    (
        StoreBack("etcd://h1/x", 3.25),
        logging.INFO,
        "etcd://h1/x answers again, after 3.2 s",
        {"event": "store_back", "store": "etcd://h1/x", "after_s": 3.25},
    ),
    (
        Refused("table", "reports", 3, 9),
        logging.WARNING,
        "'table' refused token 3 of 'reports', having seen 9",
        {"event": "fence_refused", "resource": "table", "election": "reports", "token": 3, "highest": 9},
    ),
    (
        Renewal("etcd", Outcome.RENEWED, 0.0012),
        logging.DEBUG,
        "renewal over etcd: renewed in 1.2 ms",
        {"event": "renewal", "outcome": "renewed", "took_s": 0.0012},
    ),
]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Logs down to the lowest level."""
    with caplog.at_level(logging.DEBUG, "leasekit.election"):
        yield caplog


def extra(record: logging.LogRecord) -> dict[str, object]:
    return {name.removeprefix("leasekit_"): value for name, value in vars(record).items() if "leasekit_" in name}


@pytest.mark.parametrize(("event", "level", "text", "told"), EVENTS, ids=lambda value: type(value).__name__)
def test_each_event_is_a_sentence_for_people_and_fields_for_programs(
    everything: pytest.LogCaptureFixture, event: Event, level: int, text: str, told: dict[str, object]
) -> None:
    assert logs.wanted(event)
    logs.write(event)
    (record,) = [record for record in everything.records if extra(record) == told]
    assert (record.name, record.levelno, record.getMessage()) == ("leasekit.election", level, text)


@virtual
async def test_what_happens_in_elections_is_logged(world: World) -> None:
    """From elector, keeper and guard to the record."""
    kept = _Kept()
    logs.LOGGER.addHandler(kept)
    try:
        process = world.process()
        await process.leader("a")
        process.network.go_down()
        await world.pass_time(2 * TTL_S)
        process.network.come_up()
        await world.pass_time(TTL_S)
        Rule.of("logged-table", ELECTION).refusal(3, 9)
        assert HUB.flush(PATIENCE_S)
    finally:
        logs.LOGGER.removeHandler(kept)
    # What earlier tests left running may be logged as well.
    ours = (("store", process.network.url), ("id", "a"), ("resource", "logged-table"))
    told = [extra(record) for record in kept.records if record.levelno >= logging.WARNING]
    events = [fields["event"] for fields in told if any(fields.get(name) == value for name, value in ours)]
    assert events == ["renewal_failing", "lost", "fence_refused"]


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.threads.add(threading.current_thread().name)


def test_a_handler_never_runs_on_the_engine_s_thread() -> None:
    kept = _Kept()
    logs.LOGGER.addHandler(kept)
    logs.LOGGER.setLevel(logging.DEBUG)
    try:
        with leasekit.connect("memory://") as store:
            election = leasekit.Election("reports", store=store, ttl_s=6)
            with election.campaign(timeout_s=PATIENCE_S):
                give_up_s = time.monotonic() + PATIENCE_S
                while not any(extra(record)["event"] == "renewal" for record in list(kept.records)):
                    assert time.monotonic() < give_up_s
                    time.sleep(0.01)
        assert HUB.flush(PATIENCE_S)
    finally:
        logs.LOGGER.setLevel(logging.NOTSET)
        logs.LOGGER.removeHandler(kept)
    assert {extra(record)["event"] for record in kept.records} >= {"elected", "renewal", "resigned"}
    assert kept.threads == {"leasekit-listener"}


def test_nothing_is_wanted_while_nobody_reads() -> None:
    alone = (
        "import logging; from leasekit.observability import logs, Refused; print(logs.wanted(Refused('t', 'e', 1, 2)))"
    )
    for setup, wanted in (("", "False"), ("logging.basicConfig(); ", "True")):
        program = alone.replace("print", f"{setup}print")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert (done.stdout.strip(), done.stderr) == (wanted, "")


def test_a_program_that_sets_up_no_logging_is_told_nothing() -> None:
    program = (
        "import leasekit, threading\n"
        "from leasekit.fencing.contract import Rule\n"
        "with leasekit.connect('memory://') as store:\n"
        "    with leasekit.Election('reports', store=store).campaign(): pass\n"
        "Rule.of('table').refusal(1, 2)\n"
        "assert not [t for t in threading.enumerate() if t.name == 'leasekit-listener']\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_secret_is_in_any_record(everything: pytest.LogCaptureFixture, unused_port: int) -> None:
    with leasekit.connect(f"etcd://leo:{PASSWORD}@127.0.0.1:{unused_port}/prefix") as store:
        election = leasekit.Election("reports", store=store, ttl_s=5)
        give_up_s = time.monotonic() + PATIENCE_S
        while not (failing := [one for one in everything.records if str(unused_port) in one.getMessage()]):
            assert time.monotonic() < give_up_s
            with pytest.raises(leasekit.NotElected):  # perhaps before anything was tried: gRPC is loaded first
                election.campaign(timeout_s=2)
            assert HUB.flush(PATIENCE_S)
    records = everything.records
    assert [extra(record)["event"] for record in failing] == ["store_unreachable"]
    assert extra(failing[0])["store"] == f"etcd://127.0.0.1:{unused_port}/prefix"
    assert [record for record in records if PASSWORD in str(vars(record)) + record.getMessage()] == []
