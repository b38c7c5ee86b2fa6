"""A password or a token shows nowhere: in no output, error, repr, log, command line or child's environment.

Each program below is told its secret by the environment or in a URL of its own, says all that it can, logs at the
lowest level, and fails or succeeds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.command import Command
from support.servers import ConsulCluster, EtcdCluster

USER = "leo"
# Characters that a URL must escape, so that neither spelling may slip through.
PASSWORD = "hu$h-hu$h@pass/w0rd"
QUOTED = "hu%24h-hu%24h%40pass%2Fw0rd"
TOKEN = "5ec2e700-1111-2222-3333-444444444444"
SECRETS = (PASSWORD, QUOTED, TOKEN, PASSWORD.split("@")[0], QUOTED.split("%40")[0])
ACL_RULES = """
key_prefix "" { policy = "write" }
session_prefix "" { policy = "write" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
"""

PROGRAM = """
import asyncio, logging, os, sys, traceback, warnings
logging.basicConfig(level=1, stream=sys.stdout)
warnings.simplefilter("always")
import leasekit
url, ttl_s = sys.argv[1] if sys.argv[1:] else sys.stdin.readline().strip(), 20

def show(error):
    while error is not None:
        print(repr(error), str(error), vars(error))
        traceback.print_exception(error)
        error = error.__cause__ or error.__context__

store = None
try:
    store = leasekit.connect(url)
    print(repr(store), str(store), store.url, repr(store.connection), repr(store.connection.store), vars(store))
    election = leasekit.Election("reports", store, ttl_s=ttl_s)
    print(repr(election), str(election))
    with election.campaign(float(os.environ["CAMPAIGN_S"])) as leadership:
        print(repr(leadership), repr(leadership.tenure), election.leader(), election.candidates(), election.history())
        print("ELECTED", flush=True)
        import subprocess
        subprocess.run(["tr", "\\\\0", "\\\\n"], stdin=open(f"/proc/{os.getpid()}/cmdline"))
except Exception as error:
    show(error)
for attempt in (lambda: election.try_campaign(), lambda: election.leader(), lambda: election.candidates()):
    try:
        print(attempt())
    except Exception as error:
        show(error)
if store is not None:
    store.close()
"""


@dataclass(frozen=True)
class Secured:
    """A server that asks for credentials."""

    cluster: EtcdCluster | ConsulCluster
    url: str
    right: Mapping[str, str]
    refused: Mapping[str, str]
    refused_secrets: tuple[str, ...] = ()
    """Those of `refused` that are not among `SECRETS`."""


@pytest.fixture(params=["etcd", "consul"])
def secured(request: pytest.FixtureRequest, prefix: str) -> Iterator[Secured]:
    if request.param == "etcd":
        with EtcdCluster(auth=(USER, PASSWORD)) as etcd:
            yield Secured(etcd, etcd.url(prefix), etcd.environment, {**etcd.environment, "LEASEKIT_USERNAME": "nobody"})
    else:
        with ConsulCluster(acl_token="11111111-2222-3333-4444-555555555555") as consul:
            consul.http("PUT", "/v1/acl/policy", {"Name": "all", "Rules": ACL_RULES})
            consul.http("PUT", "/v1/acl/token", {"SecretID": TOKEN, "Policies": [{"Name": "all"}]})
            other = TOKEN.replace("4", "6")
            yield Secured(
                consul, consul.url(prefix), {"CONSUL_HTTP_TOKEN": TOKEN}, {"CONSUL_HTTP_TOKEN": other}, (other,)
            )


def _environment(secrets: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEASEKIT_", "CONSUL_"))}
    return {**kept, "PYTHONASYNCIODEBUG": "1", **secrets}


def _say_all(secrets: Mapping[str, str], *arguments: str, told: str = "", campaign_s: float = 60) -> str:
    """All that the program says."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM, *arguments],
        input=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(secrets) | {"CAMPAIGN_S": str(campaign_s)},
        timeout=100,
        check=False,
    )
    return done.stdout


def assert_hidden(text: str, *more: str) -> None:
    for secret in (*SECRETS, *more):
        assert secret not in text, f"a secret shows:\n{text}"


def test_nothing_shows_when_all_goes_well(secured: Secured) -> None:
    said = _say_all(secured.right, secured.url)
    assert "ELECTED" in said
    assert_hidden(said)


def test_nothing_shows_when_the_credentials_are_refused(secured: Secured) -> None:
    said = _say_all(secured.refused, secured.url)
    assert "AuthError" in said
    assert_hidden(said, *secured.refused_secrets)


def test_nothing_shows_when_the_store_is_gone(secured: Secured) -> None:
    secured.cluster.stop_all()
    said = _say_all(secured.right, secured.url, campaign_s=3)
    assert "NotElected" in said
    assert_hidden(said)


@pytest.mark.parametrize(
    "mistake",
    ["{url}", "{url}?nonsense=1", "{url}#part", "{url}:x", "nosuch{url}"],
    ids=["right", "unknown option", "fragment", "bad port", "unknown scheme"],
)
def test_nothing_shows_of_a_password_within_the_url(mistake: str, prefix: str) -> None:
    with EtcdCluster(auth=(USER, PASSWORD)) as etcd:
        base = f"etcd://{USER}:{QUOTED}@{etcd.endpoints[0]}"
        url = mistake.format(url=base if mistake.endswith(":x") else f"{base}/{prefix}")
        said = _say_all({}, told=f"{url}\n")
    assert ("ELECTED" in said) == (mistake == "{url}")
    assert_hidden(said)


def test_nothing_shows_of_a_running_command_nor_in_what_it_starts(secured: Secured, tmp_path: Path) -> None:
    command = Command(secured.url, tmp_path)
    try:
        show = "cat /proc/$$/environ /proc/$PPID/environ | tr '\\0' '\\n'; echo up; exec sleep 600"
        running = command.start(
            "run", "job", "--ttl", "30", "--", "sh", "-c", show, environment=command.environment(**secured.right)
        )
        said = ""
        while not said.endswith("up\n"):
            line = running.line()
            assert line or running.process.poll() is None, "it ended"
            said += line + "\n"
        assert_hidden(said)
        assert "LEASEKIT_TOKEN=" in said
        # Its own environment is its user's; its command line, and its children's, are everybody's to see.
        assert_hidden(_command_lines(running.pid))
        running.signal(signal.SIGTERM)
        done = running.end()
        assert_hidden(done.out + done.err)
        for arguments in (("status",), ("leader", "job"), ("doctor",), ("history", "job", "-o", "json")):
            for secrets in (secured.right, secured.refused):
                done = command(*arguments, environment=command.environment(LEASEKIT_DEBUG="1", **secrets))
                assert_hidden(done.out + done.err)
    finally:
        command.close()


def _command_lines(pid: int) -> str:
    """The command lines of a process and of all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return "\n".join([own, *(_command_lines(int(child)) for child in children)])
