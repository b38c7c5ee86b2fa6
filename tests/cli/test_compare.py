"""`leasekit compare`, from start to end on the smallest scale, cut short, and given what it cannot do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from leasekit.backends.etcd import open_store
from leasekit.urls import parse
from support.binaries import REPOSITORY, require
from support.children import pids_with
from support.command import Command, Done, Running
from support.servers import EtcdCluster

# Processes and servers are started by the dozen, which a busy machine takes its time for.
DONE_WITHIN_S = 240.0
pytestmark = pytest.mark.timeout(DONE_WITHIN_S + 60)

TINY = ("--rounds", "1", "--ttl", "2")
# Where leases must not run out before they are meant to: a leader that a busy machine holds up is no sample.
HARDY_TTL_S = 6.0
HARDY = ("--rounds", "1", "--ttl", str(HARDY_TTL_S))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the comparison makes its temporary directory."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(cli: Command, folder: Path, *arguments: str, **options: Any) -> Running:
    environment = cli.environment(TMPDIR=str(folder), LEASEKIT_SERVERS=str(REPOSITORY / ".cache" / "servers"))
    return cli.start("compare", *arguments, environment=environment, **options)


def run(cli: Command, folder: Path, *arguments: str) -> Done:
    return start(cli, folder, *arguments).end(DONE_WITHIN_S)


def only(*scenarios: str) -> list[str]:
    return [part for scenario in scenarios for part in ("--scenario", scenario)]


def check_nothing_left(comparison: Running, folder: Path) -> None:
    """Its servers have its folder on their command lines, its workers its process id."""
    worker = f"leasekit.cli.compare.worker\0{comparison.pid}\0"
    give_up = time.monotonic() + 60
    while left := [*pids_with(str(folder)), *pids_with(worker)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.02)


def check_measured(store: dict[str, Any], *names: str) -> None:
    """These figures, with their samples."""
    assert store["error"] is None
    assert store["failed"] == {}
    assert set(names) == set(store["measured"])
    for measured in store["measured"].values():
        samples = measured["samples"]
        assert measured["count"] == len(samples) > 0
        assert min(samples) == measured["least"] <= measured["median"] <= measured["most"] == max(samples)


def test_a_file_a_cluster_and_a_server_side_by_side(cli_without_store: Command, folder: Path, tmp_path: Path) -> None:
    require("etcd-3.5", "etcd")
    html = tmp_path / "page.html"
    scenarios = only("acquire", "handover", "watch", "renewal", "requests")
    done = run(
        cli_without_store, folder, "--with", "sqlite,etcd1", *HARDY, *scenarios, "-o", "json", "--html", str(html)
    )
    assert done.code == 0, done
    assert done.json["complete"] is True
    assert done.json["settings"]["rounds"] == 1
    sqlite, etcd = done.json["stores"]
    figures = ["acquire_s", "handover_s", "watch_s", "renewal_s", "handover_calls"]
    check_measured(sqlite, *figures)
    check_measured(etcd, *figures, "renewal_requests", "renewal_bytes", "handover_requests")
    assert etcd["version"].startswith("3.5")
    assert etcd["promises"]["ttl_s"] == HARDY_TTL_S
    # A keepalive, and the read that confirms it.
    assert etcd["measured"]["renewal_requests"]["median"] == 2
    page = ElementTree.fromstring(html.read_text().removeprefix("<!doctype html>"))
    assert len(list(page.iter("{http://www.w3.org/2000/svg}svg"))) == 5
    assert list(folder.iterdir()) == []


def test_a_leader_that_is_paused_and_one_that_is_killed(cli_without_store: Command, folder: Path) -> None:
    done = run(cli_without_store, folder, "--with", "sqlite", *HARDY, *only("paused", "failover"), "-o", "json")
    assert done.code == 0, done
    [store] = done.json["stores"]
    check_measured(store, "paused_late_s", "paused_noticed_s", "paused_refused", "paused_accepted", "failover_s")
    measured = {name: found["samples"] for name, found in store["measured"].items()}
    assert measured["paused_late_s"] == [0, 0]
    assert measured["paused_accepted"] == [0, 0]
    assert measured["paused_refused"] == [1, 1]
    # A renewal is due a third of the ttl after the one before, and may be late on a busy machine.
    assert min(measured["failover_s"]) > HARDY_TTL_S / 3


def test_what_an_idle_election_costs(cli_without_store: Command, folder: Path) -> None:
    done = run(cli_without_store, folder, "--with", "sqlite", *TINY, *only("idle"), "-o", "json")
    assert done.code == 0, done
    [store] = done.json["stores"]
    check_measured(store, "idle_calls_per_minute", "idle_cpu_percent")


def test_the_stores_own_leader_is_killed_and_comes_back(cli_without_store: Command, folder: Path) -> None:
    comparison = start(cli_without_store, folder, "--with", "raft3", *TINY, *only("store-failover"), "-o", "json")
    done = comparison.end(DONE_WITHIN_S)
    assert done.code == 0, done
    [store] = done.json["stores"]
    check_measured(store, "store_failover_write_s", "store_failover_renewal_s", "store_failover_survived")
    # No member can lead before the others have missed the lost one for an election timeout.
    assert store["measured"]["store_failover_write_s"]["least"] > 0.5
    check_nothing_left(comparison, folder)
    assert list(folder.iterdir()) == []


def test_consul_is_started_as_well(cli_without_store: Command, folder: Path) -> None:
    require("consul", "consul")
    done = run(cli_without_store, folder, "--with", "consul1", *TINY, *only("acquire", "store-failover"))
    assert done.code == 0, done
    assert "CONSUL X1" in done.out
    assert "acquire + release" in done.out
    assert "left out: takes a store of three servers" in done.out


async def test_a_store_that_is_given_is_left_as_it_was(
    cli_without_store: Command, folder: Path, etcd: EtcdCluster, prefix: str
) -> None:
    url = etcd.url(prefix)
    scenarios = only("handover", "failover", "store-failover")
    done = run(cli_without_store, folder, url, *HARDY, *scenarios, "-o", "json")
    assert done.code == 0, done
    [store] = done.json["stores"]
    check_measured(store, "handover_s", "failover_s")
    assert store["url"] == url
    assert "not ours" in store["left_out"]["store-failover"]
    backend = open_store(parse(url))
    assert (await backend.scan("", timeout_s=5)).entries == ()
    await backend.aclose()
    assert etcd.pid(0)


@pytest.mark.parametrize("after_s", [0.0, 0.15, 0.6, 1.5, 3.1])
def test_ctrl_c_typed_at_any_moment_ends_it_and_a_second_one_does_no_harm(
    cli_without_store: Command, folder: Path, after_s: float
) -> None:
    comparison = start(cli_without_store, folder, "--with", "raft3", *TINY, process_group=0)
    wait_for_progress(comparison)
    time.sleep(after_s)
    os.killpg(comparison.pid, signal.SIGINT)
    time.sleep(0.01)
    try_to_signal(comparison, signal.SIGINT)
    done = comparison.end()
    assert done.code == 130, done
    assert "Traceback" not in done.err
    check_nothing_left(comparison, folder)
    assert list(folder.iterdir()) == []


async def test_cut_short_it_leaves_nothing_in_a_store_that_is_given(
    cli_without_store: Command, folder: Path, etcd: EtcdCluster, prefix: str
) -> None:
    url = etcd.url(prefix)
    comparison = start(cli_without_store, folder, url, *TINY, *only("paused"))
    wait_for_progress(comparison, "paused")
    await asyncio.sleep(1.5)
    comparison.signal(signal.SIGTERM)
    done = comparison.end()
    assert done.code == 143, done
    check_nothing_left(comparison, folder)
    backend = open_store(parse(url))
    assert (await backend.scan("", timeout_s=5)).entries == ()
    await backend.aclose()


def test_killed_outright_it_takes_its_processes_along(cli_without_store: Command, folder: Path) -> None:
    comparison = start(cli_without_store, folder, "--with", "raft3", *TINY)
    wait_for_progress(comparison, "acquire")
    assert len(pids_with(str(folder))) == 3
    comparison.signal(signal.SIGKILL)
    comparison.end()
    check_nothing_left(comparison, folder)


def test_a_server_that_does_not_start_is_said_and_the_others_are_measured(
    cli_without_store: Command, folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "servers" / "etcd"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no space left on this planet >&2\nexit 3\n")
    broken.chmod(0o755)
    arguments = ["--with", "etcd3,sqlite", "--servers", str(broken.parent), *TINY, *only("acquire"), "-o", "json"]
    done = run(cli_without_store, folder, *arguments)
    assert done.code == 69
    assert "no space left on this planet" in done.err
    etcd, sqlite = done.json["stores"]
    assert "no space left on this planet" in etcd["error"]
    check_measured(sqlite, "acquire_s")
    assert done.json["complete"] is False


def test_a_program_that_is_not_found_is_named(cli_without_store: Command, folder: Path, tmp_path: Path) -> None:
    environment = cli_without_store.environment(TMPDIR=str(folder), PATH=str(tmp_path))
    arguments = ["compare", *TINY, *only("acquire"), "-o", "json", "--with"]
    done = cli_without_store(*arguments, "sqlite,consul3", environment=environment)
    assert done.code == 0, done
    assert "consul3 is left out: no program 'consul' on PATH" in done.err
    assert [missing["name"] for missing in done.json["not_found"]] == ["consul3"]
    assert cli_without_store(*arguments, "consul3", environment=environment).code == 78


def test_a_store_that_does_not_answer_is_no_comparison(
    cli_without_store: Command, folder: Path, unused_port: int
) -> None:
    done = run(cli_without_store, folder, f"etcd://127.0.0.1:{unused_port}", *TINY, "-o", "json")
    assert done.code == 69
    assert done.json["stores"][0]["error"]


def test_its_reader_may_go_away(cli_without_store: Command, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    comparison = start(cli_without_store, folder, "--with", "sqlite", *TINY, *only("acquire"), stdout=writer)
    os.close(writer)
    assert comparison.process.wait(DONE_WITHIN_S) == 141
    check_nothing_left(comparison, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_without_a_standard_stream_it_still_writes_its_page(
    cli_without_store: Command, folder: Path, tmp_path: Path, closed: int
) -> None:
    html = tmp_path / "page.html"
    program = ["sh", "-c", f'exec "$@" {closed}<&-', "sh", sys.executable, "-P", "-m", "leasekit", "compare"]
    program += ["--with", "sqlite", *TINY, *only("acquire"), "--html", str(html)]
    environment = cli_without_store.environment(TMPDIR=str(folder))
    done = subprocess.run(program, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert "acquire + release" in html.read_text()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--with", "sqlite,nosuch"], 2, "'nosuch' is none of sqlite"),
        (["--with", ""], 2, "is none of"),
        (["--scenario", "nosuch"], 2, "nosuch"),
        (["--rounds", "0"], 2, "--rounds"),
        (["--ttl", "0"], 2, "--ttl"),
        (["--ttl", "nan"], 2, "--ttl"),
        (["--ttl", "0.01"], 78, "safety margin"),
        (["--servers", "/nosuch"], 2, "/nosuch"),
        (["--with", "sqlite", "etcd://h"], 2, "name no URL beside them"),
        (["nosuch://h"], 78, "no store is known"),
        (["no-url"], 78, "has no scheme"),
        (["memory://x"], 78, "processes do not share it"),
        (["etcd://me:secret@h"], 78, "LEASEKIT_PASSWORD"),
        (["--html", "/nosuch/page.html"], 78, "cannot be written"),
    ],
)
def test_nonsense_is_refused_before_anything_starts(
    cli_without_store: Command, folder: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run(cli_without_store, folder, *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "secret" not in done.err
    assert list(folder.iterdir()) == []


def wait_for_progress(comparison: Running, word: str = "starting") -> None:
    """Until it says so on stderr."""
    give_up = time.monotonic() + 60
    while word not in comparison.complaints:
        assert time.monotonic() < give_up and comparison.process.poll() is None, comparison.complaints
        time.sleep(0.01)


def try_to_signal(comparison: Running, number: signal.Signals) -> None:
    """It may have ended by now."""
    if comparison.process.poll() is None:
        os.killpg(comparison.pid, number)
