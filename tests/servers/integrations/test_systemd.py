"""sd_notify to a real datagram socket, and the units of the examples as systemd itself reads them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from leasekit import engine
from leasekit.integrations.systemd import Notifier
from support.binaries import REPOSITORY
from support.command import Command

PATIENCE_S = 60.0
UNITS = sorted((REPOSITORY / "docs" / "examples" / "systemd").glob("*.*"))


class Listener:
    """systemd's end of the line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(b"\0" + address[1:].encode() if address.startswith("@") else address)

    def next(self, timeout_s: float = PATIENCE_S) -> list[str]:
        """The lines of the next message. Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        return self._socket.recv(4096).decode().splitlines()

    def until(self, line: str) -> list[list[str]]:
        """All messages up to the one with this line."""
        messages = [self.next()]
        while line not in messages[-1]:
            messages.append(self.next())
        return messages

    def drain(self) -> int:
        """How many messages were there."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self.next(0):
                count += 1
        return count

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """systemd's end, at both kinds of address."""
    listening = Listener(str(tmp_path / "notify") if request.param == "path" else f"@leasekit-{uuid.uuid4().hex}")
    yield listening
    listening.close()


@pytest.fixture
def path_listener(tmp_path: Path) -> Iterator[Listener]:
    listening = Listener(str(tmp_path / "notify"))
    yield listening
    listening.close()


def test_ready_status_and_stopping_arrive_as_systemd_reads_them(listener: Listener) -> None:
    service = Notifier({"NOTIFY_SOCKET": listener.address})
    assert service.ready("waits\nfor its turn")
    assert listener.next() == ["READY=1", "STATUS=waits for its turn"]
    assert service.status("leads with token 42 - à jour")
    assert listener.next() == ["STATUS=leads with token 42 - à jour"]
    with service:
        assert service.ready()
    assert [listener.next(), listener.next()] == [["READY=1"], ["STOPPING=1"]]


def test_keepalives_are_sent_only_while_the_engine_s_loop_answers(path_listener: Listener) -> None:
    service = Notifier({"NOTIFY_SOCKET": path_listener.address, "WATCHDOG_USEC": "200000"})
    assert service.keepalive_s == 0.1
    release, hangs = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        release.wait(PATIENCE_S)

    service.keep_alive()
    try:
        assert [path_listener.next() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        engine.get().call(hang)
        assert hangs.wait(PATIENCE_S)
        path_listener.drain()
        with pytest.raises(TimeoutError):
            path_listener.next(1.0)
        release.set()
        assert path_listener.next() == ["WATCHDOG=1"]
    finally:
        release.set()
        service.close()


def test_the_watchdog_of_another_process_is_not_answered(path_listener: Listener) -> None:
    asked = {"NOTIFY_SOCKET": path_listener.address, "WATCHDOG_USEC": "1000000"}
    assert Notifier({**asked, "WATCHDOG_PID": str(os.getpid())}).keepalive_s == 0.5
    assert Notifier({**asked, "WATCHDOG_PID": str(os.getppid())}).keepalive_s is None
    assert Notifier({**asked, "WATCHDOG_USEC": "soon"}).keepalive_s is None


@pytest.mark.parametrize("address", ["", "vsock:2:1", "@", "relative"])
def test_where_systemd_does_not_listen_nothing_is_said_and_nothing_fails(address: str) -> None:
    with Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}) as service:
        assert not service.listening
        assert not service.ready("up")


def test_a_systemd_that_has_gone_is_no_fault_of_the_service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert "systemd could not be told READY" in caplog.text


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Command]:
    command = Command(f"sqlite:///{tmp_path / 'leases.db'}", tmp_path)
    yield command
    command.close()


def test_run_tells_systemd_that_it_waits_leads_and_stops(cli: Command, path_listener: Listener) -> None:
    told = cli.environment(NOTIFY_SOCKET=path_listener.address, WATCHDOG_USEC="1000000", FOO="kept")
    other = cli.start("run", "reports", "--id", "other", "--", "sh", "-c", "echo up; sleep 60")
    other.line_with("up")
    script = "env | grep -E '^(NOTIFY|WATCHDOG|FOO)'; echo $LEASEKIT_TOKEN; while :; do sleep 0.05; done"
    running = cli.start("run", "reports", "--", "sh", "-c", script, environment=told)
    messages = path_listener.until("READY=1")
    assert messages[-1] == ["READY=1", "STATUS=waits for its turn in 'reports'"]
    other.signal(signal.SIGTERM)
    assert running.line() == "FOO=kept"
    token = running.line()
    messages += path_listener.until(f"STATUS=leads 'reports' with token {token}")
    running.signal(signal.SIGTERM)
    messages += path_listener.until("STOPPING=1")
    assert ["WATCHDOG=1"] in messages
    assert running.end().code == 128 + signal.SIGTERM


def test_a_leasekit_that_is_stopped_says_nothing_more(cli: Command, path_listener: Listener) -> None:
    told = cli.environment(NOTIFY_SOCKET=path_listener.address, WATCHDOG_USEC="200000")
    running = cli.start("run", "reports", "--ttl", "60", "--", "sh", "-c", "echo up; sleep 60", environment=told)
    running.line_with("up")
    path_listener.until("WATCHDOG=1")
    running.signal(signal.SIGSTOP)
    path_listener.drain()
    with pytest.raises(TimeoutError):
        path_listener.next(1.0)
    running.signal(signal.SIGCONT)
    path_listener.until("WATCHDOG=1")


def test_there_are_example_units() -> None:
    assert {unit.name for unit in UNITS} >= {"reports.service", "nightly-report.service", "nightly-report.timer"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_finds_nothing_to_say_against_the_example_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The examples' programs are not installed here.
        text = unit.read_text()
        for program in ("/usr/local/bin/leasekit", "/usr/local/bin/make-report"):
            text = text.replace(program, sys.executable)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    # What it says of other units of this machine is none of ours.
    said = [line for line in (done.stdout + done.stderr).splitlines() if any(unit.name in line for unit in UNITS)]
    assert said == []
