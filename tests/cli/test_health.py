"""`leasekit run --health`: real processes, asked over real sockets, by good clients and by bad ones."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leasekit.cli.health import HealthServer
from leasekit.errors import ConfigError
from support.command import Command, Running

PATIENCE_S = 60.0
LONG = ("--ttl", "60")
FOR_EVER = ("--", "sh", "-c", "echo up; while :; do sleep 0.05; done")


@dataclass
class Answer:
    """What a server said, taken apart."""

    raw: bytes
    status: int = field(init=False)
    headers: dict[str, str] = field(init=False)
    body: str = field(init=False)

    def __post_init__(self) -> None:
        head, _, body = self.raw.decode().partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        self.status, self.body = int(first.split(" ")[1]), body
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}


@dataclass
class Served:
    """A `leasekit run` with health endpoints."""

    running: Running
    host: str
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def say(self, request: bytes) -> bytes:
        """All that is answered to these bytes."""
        with self.connect() as client:
            client.sendall(request)
            return read(client)

    def ask(self, path: str, method: str = "GET") -> Answer:
        return Answer(self.say(f"{method} {path} HTTP/1.1\r\nHost: health\r\n\r\n".encode()))

    def until(self, path: str, status: int) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while (answer := self.ask(path)).status != status:
            assert time.monotonic() < give_up, (path, answer)
            time.sleep(0.05)

    def statuses(self) -> dict[str, int]:
        return {path: self.ask(path).status for path in ("/livez", "/readyz", "/leader")}


def read(client: socket.socket) -> bytes:
    """Until the server closes."""
    said = b""
    while more := client.recv(65536):
        said += more
    return said


def notes(running: Running, pattern: str) -> re.Match[str]:
    """What it has said to people, once it matches."""
    give_up = time.monotonic() + PATIENCE_S
    while (found := re.search(pattern, running._errors.read_text())) is None:
        assert running.process.poll() is None, running._errors.read_text()
        assert time.monotonic() < give_up, running._errors.read_text()
        time.sleep(0.02)
    return found


Serve = Callable[..., Served]


@pytest.fixture
def serve(cli: Command) -> Serve:
    def start(*options: str, address: str = "0", cli: Command = cli) -> Served:
        running = cli.start("run", "job", *LONG, "--health", address, *options, *FOR_EVER)
        host, port = notes(running, r"health endpoints on http://(\S+):(\d+): ").groups()
        return Served(running, host.strip("[]"), int(port))

    return start


@pytest.fixture
def leader(serve: Serve) -> Served:
    """One whose command is up."""
    served = serve("--id", "the-leader-4711")
    served.running.line_with("up")
    return served


def test_a_leader_is_alive_ready_and_leading(leader: Served) -> None:
    assert leader.host == "127.0.0.1"
    assert leader.statuses() == {"/livez": 200, "/readyz": 200, "/leader": 200}
    assert leader.ask("/leader").headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "7",
        "cache-control": "no-store",
        "connection": "close",
    }


def test_a_follower_is_alive_and_ready_and_does_not_lead(leader: Served, serve: Serve) -> None:
    follower = serve("--id", "follower")
    follower.until("/readyz", 200)
    assert follower.statuses() == {"/livez": 200, "/readyz": 200, "/leader": 503}
    leader.running.signal(signal.SIGTERM)
    follower.running.line_with("up")
    assert follower.statuses() == {"/livez": 200, "/readyz": 200, "/leader": 200}


def test_while_the_store_is_away_it_lives_and_is_not_ready(tmp_path: Path, unused_port: int, serve: Serve) -> None:
    away = Command(f"etcd://127.0.0.1:{unused_port}", tmp_path)
    try:
        served = serve(cli=away)
        assert served.statuses() == {"/livez": 200, "/readyz": 503, "/leader": 503}
    finally:
        away.close()


def test_a_leader_that_was_paused_beyond_its_lease_never_says_that_it_leads(cli: Command) -> None:
    # Asked while it stands still: answered first thing when it goes on, if it has not ended before.
    ttl_s = 5
    running = cli.start("run", "job", "--ttl", str(ttl_s), "--health", "0", *FOR_EVER)
    port = int(notes(running, r"http://127.0.0.1:(\d+): ")[1])
    running.line_with("up")
    served = Served(running, "127.0.0.1", port)
    assert served.ask("/leader").status == 200
    running.signal(signal.SIGSTOP)
    with served.connect() as client:
        client.sendall(b"GET /leader HTTP/1.1\r\n\r\n")
        time.sleep(ttl_s + 0.5)
        running.signal(signal.SIGCONT)
        with contextlib.suppress(ConnectionResetError):
            said = read(client)
            assert not said or Answer(said).status == 503
    assert running.end().code == 79


def test_metrics_are_served_as_well(leader: Served) -> None:
    answer = leader.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'leasekit_is_leader{election="job"} 1.0' in answer.body
    assert leader.ask("/metrics", "POST").status == 405


def test_without_prometheus_client_there_are_none_and_all_else_is_there(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "prometheus_client.py").write_text("raise ImportError")
    environment = cli.environment(PYTHONPATH=str(tmp_path / "broken"))
    running = cli.start("run", "job", *LONG, "--health", "0", *FOR_EVER, environment=environment)
    port = int(notes(running, r"http://127.0.0.1:(\d+): /livez /readyz /leader\n")[1])
    running.line_with("up")
    served = Served(running, "127.0.0.1", port)
    assert (served.ask("/metrics").status, served.ask("/leader").status) == (404, 200)


def test_answers_give_nothing_away(leader: Served, cli: Command) -> None:
    told = [leader.ask(path).raw.decode() for path in ("/livez", "/readyz", "/leader", "/metrics", "/nonesuch")]
    assert cli.store_url is not None
    token = cli("leader", "job", "-o", "json").json["leader"]["token"]
    secrets = ("the-leader-4711", re.escape(cli.store_url), "sqlite:", f"token {token}")
    # Not as a part of another number, such as a time.
    pid = rf"(?<![\d.]){leader.running.pid}(?!\d)"
    assert [(secret, text) for secret in (*secrets, pid) for text in told if re.search(secret, text)] == []


# Who asks.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_refused(leader: Served, method: str) -> None:
    answer = leader.ask("/leader", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_bad_requests_get_an_answer_or_none_and_change_nothing(leader: Served) -> None:
    for request, status in [
        (b"HEAD /leader HTTP/1.0\r\n\r\n", 200),
        (b"GET /leader?verbose=1 HTTP/1.1\r\n\r\n", 200),
        (b"GET /nonesuch HTTP/1.1\r\n\r\n", 404),
        (b"GET /../leader HTTP/1.1\r\n\r\n", 404),
        (b"GET leader HTTP/1.1\r\n\r\n", 400),
        (b"GET /leader\r\n\r\n", 400),
        (b"GET /leader HTTP/2\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"POST /leader HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000, 405),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /leader HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, 431),
    ]:
        assert Answer(leader.say(request)).status == status, request[:60]
    assert leader.say(b"HEAD /leader HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
    assert leader.statuses() == {"/livez": 200, "/readyz": 200, "/leader": 200}


def test_an_answer_is_not_lost_though_the_rest_of_the_request_comes_in_pieces(leader: Served) -> None:
    with leader.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(60):
            client.sendall(b"a" * 512)
            time.sleep(0.002)
        assert Answer(read(client)).status == 431


def test_a_client_that_says_nothing_is_sent_away(leader: Served) -> None:
    with leader.connect() as silent, leader.connect() as slow:
        slow.sendall(b"GET /lea")
        assert (Answer(read(silent)).status, Answer(read(slow)).status) == (408, 408)


@pytest.fixture
def idlers(leader: Served) -> Iterator[list[socket.socket]]:
    """More connections than there are places, all of which say nothing."""
    with ExitStack() as stack:
        yield [stack.enter_context(leader.connect()) for _ in range(200)]


def test_clients_that_hold_all_places_keep_nobody_else_from_being_answered(
    leader: Served, idlers: list[socket.socket]
) -> None:
    began = time.monotonic()
    assert leader.statuses() == {"/livez": 200, "/readyz": 200, "/leader": 200}
    # Without waiting until those are sent away, which takes 5 s a piece for each round of places.
    assert time.monotonic() - began < PATIENCE_S / 4
    assert len(list(Path(f"/proc/{leader.running.pid}/fd").iterdir())) < 100
    assert len(idlers) == 200


def test_a_flood_of_requests_costs_no_leadership(cli: Command) -> None:
    running = cli.start("run", "job", "--ttl", "10", "--health", "0", *FOR_EVER)
    served = Served(running, "127.0.0.1", int(notes(running, r"http://127.0.0.1:(\d+): ")[1]))
    running.line_with("up")
    token = cli("leader", "job", "-o", "json").json["leader"]["token"]
    began = time.monotonic()
    answered = 0
    # Longer than from one renewal to the next.
    while (took_s := time.monotonic() - began) < 4 or answered <= 100:
        assert took_s < PATIENCE_S
        with ExitStack() as stack:
            clients = [stack.enter_context(served.connect()) for _ in range(30)]
            for client in clients:
                client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            answered += sum(b" 200 " in read(client) for client in clients)
    assert cli("leader", "job", "-o", "json").json["leader"]["token"] == token


# Where it listens.


def test_a_port_that_is_taken_is_said_before_anything_is_won(cli: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("run", "job", "--health", str(port), "--", "true")
    assert done.code == 78
    assert f"--health: cannot listen on {port}: Address already in use" in done.err
    assert cli("history", "job", "-o", "tsv").out == ""


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (":8080", "8080 is this host alone, 0.0.0.0:8080 everybody"),
        ("http://localhost:1", "put an IPv6 address into brackets"),
        ("::1:8080", "put an IPv6 address into brackets"),
        ("localhost", "write PORT, HOST:PORT or [IPv6]:PORT"),
        ("127.0.0.1:65536", "write PORT, HOST:PORT or [IPv6]:PORT"),
        ("127.0.0.1:-1", "write PORT, HOST:PORT or [IPv6]:PORT"),
        ("", "write PORT, HOST:PORT or [IPv6]:PORT"),
        ("no..host:1", "cannot listen on no..host:1"),
        ("203.0.113.7:0", "cannot listen on 203.0.113.7:0"),
    ],
)
def test_an_address_that_will_not_do_is_a_bad_configuration(address: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        HealthServer(address, "job")


@pytest.mark.parametrize("address", ["localhost:0", "0.0.0.0:0"])
def test_an_address_for_others_is_served_with_a_warning(cli: Command, address: str) -> None:
    done = cli("run", "job", "--health", address, "--", "true")
    assert done.code == 0
    assert ("open to whoever reaches that address" in done.err) == (address == "0.0.0.0:0")


def test_the_command_gets_neither_the_socket_nor_the_option(cli: Command) -> None:
    listing = "ls -l /proc/self/fd /proc/$PPID/fd | grep -c socket: ; env | grep -c HEALTH"
    done = cli("run", "job", "--health", "0", "--", "sh", "-c", listing)
    without = cli("run", "job", "--", "sh", "-c", listing)
    assert done.out == without.out
