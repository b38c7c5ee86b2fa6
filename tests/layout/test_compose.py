"""The compose files say what they promise, and the servers understand what the files tell them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from leasekit import urls
from leasekit.cli.raft.serve import serve
from support import binaries
from support.binaries import REPOSITORY
from support.servers import ConsulCluster, EtcdCluster, RaftCluster

_PYTHON = "python:3.13-slim"
_ETCD_BASE = "debian:trixie-slim"
_ETCD_BUILD = {"context": "etcd", "args": {"BASE": f"${{ETCD_BASE_IMAGE:-{_ETCD_BASE}}}"}}
_HEALTH = {
    "etcd": ["CMD", "/usr/bin/etcdctl", "endpoint", "health"],
    "consul": ["CMD", "consul", "operator", "raft", "list-peers"],
    "raft": ["CMD", "leasekit", "--store", "raft://127.0.0.1:7001", "raft", "status"],
}
_SOON_S = 60.0
_PORTS = {"etcd": [2379, 22379, 32379], "consul": [8500, 18500, 28500], "raft": [7001, 17001, 27001]}


@pytest.fixture(params=["etcd", "consul", "raft"])
def store(request: pytest.FixtureRequest) -> str:
    """The name of the store whose file is looked at."""
    return str(request.param)


@pytest.fixture
def file(store: str) -> dict[str, Any]:
    """That file, parsed."""
    return _file(store)


def _file(store: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose" / f"{store}.yaml").read_text())
    return parsed


def _output(what: str, *command: str) -> str:
    program = binaries.require(what, command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _services(file: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from file["services"].values()


def test_there_are_three_servers(file: dict[str, Any]) -> None:
    assert len(file["services"]) == 3


def test_consul_is_of_a_fixed_version() -> None:
    assert {service["image"] for service in _services(_file("consul"))} == {"consul:1.8.7"}


def test_etcd_is_built_from_the_packages_that_the_tests_run_on() -> None:
    assert all(service["build"] == _ETCD_BUILD and "image" not in service for service in _services(_file("etcd")))
    dockerfile = (REPOSITORY / "compose" / "etcd" / "Dockerfile").read_text()
    assert f"ARG BASE={_ETCD_BASE}\nFROM ${{BASE}}\n" in dockerfile
    assert "install -y --no-install-recommends etcd-server etcd-client" in dockerfile
    suite = _ETCD_BASE.partition(":")[2].removesuffix("-slim")
    fetcher = (REPOSITORY / "scripts" / "get-servers.sh").read_text()
    assert f"etcd-3.5) suite={suite} ;;" in fetcher
    assert 'unpack "$1" etcd-server etcd-client' in fetcher


def test_members_of_the_own_store_are_built_from_this_repository() -> None:
    file = _file("raft")
    build = {
        "context": "..",
        "dockerfile": "compose/raft/Dockerfile",
        "args": {"BASE": f"${{RAFT_BASE_IMAGE:-{_PYTHON}}}"},
    }
    assert all(service["build"] == build and "image" not in service for service in _services(file))
    dockerfile = (REPOSITORY / "compose" / "raft" / "Dockerfile").read_text()
    assert f"ARG BASE={_PYTHON}\nFROM ${{BASE}}\n" in dockerfile
    copied = {name for line in re.findall("^COPY (.*) /src", dockerfile, re.MULTILINE) for name in line.split()}
    ignored = (REPOSITORY / "compose" / "raft" / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied == {name.removeprefix("!") for name in ignored if name.startswith("!")}
    assert {name for name in copied if (REPOSITORY / name).is_dir()} == set(pyproject_roots())
    assert 'CMD ["leasekit", "raft", "serve"]' in dockerfile


def pyproject_roots() -> set[str]:
    """The folders that the package is made of."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    return set(tomllib.loads(text)["tool"]["setuptools"]["package-dir"].values())


def test_ports_are_open_on_loopback_only(store: str, file: dict[str, Any]) -> None:
    inside = _PORTS[store][0]
    assert [service["ports"] for service in _services(file)] == [[f"127.0.0.1:{p}:{inside}"] for p in _PORTS[store]]


def test_each_server_has_a_health_check_and_a_volume_of_its_own(store: str, file: dict[str, Any]) -> None:
    for name, service in file["services"].items():
        assert service["healthcheck"]["test"] == _HEALTH[store]
        assert service["volumes"][0].startswith(f"{name}:")
    assert list(file["volumes"]) == list(file["services"])


def test_the_store_url_that_it_names_has_its_ports(store: str, file: dict[str, Any]) -> None:
    for page in (f"{store}.yaml", "README.md"):
        named = re.findall(rf"\b{store}://[\d.:,]+", (REPOSITORY / "compose" / page).read_text())
        named = [url for url in named if url not in _HEALTH[store]]
        assert [endpoint.port for url in named for endpoint in urls.parse(url).endpoints] == _PORTS[store]


def test_etcd_knows_every_setting() -> None:
    text = _output("etcd-3.5", "etcd", "--help")
    file = _file("etcd")
    flags = {name.removeprefix("ETCD_").lower().replace("_", "-") for s in _services(file) for name in s["environment"]}
    assert flags
    assert [flag for flag in flags if f"--{flag} " not in text] == []


def test_consul_knows_every_setting() -> None:
    text = _output("consul", "consul", "agent", "-help")
    file = _file("consul")
    flags = {argument.partition("=")[0] for service in _services(file) for argument in service["command"][1:]}
    assert flags
    assert [flag for flag in flags if not re.search(rf"^\s+{flag}\b", text, re.MULTILINE)] == []


def test_members_of_the_own_store_know_every_setting() -> None:
    known = {parameter.name for parameter in serve.params}
    names = {name for service in _services(_file("raft")) for name in service["environment"]}
    assert names
    assert [name for name in names if name.removeprefix("LEASEKIT_RAFT_").lower() not in known] == []


def test_the_own_stores_members_begin_with_each_other_and_where_they_listen() -> None:
    for name, service in _file("raft")["services"].items():
        environment = service["environment"]
        assert environment["LEASEKIT_RAFT_ID"] == name
        assert f"{name}={name}:7001" in environment["LEASEKIT_RAFT_INITIAL"].split(",")
        assert environment["LEASEKIT_RAFT_LISTEN"] == "0.0.0.0:7001"
        assert service["volumes"] == [f"{name}:{environment['LEASEKIT_RAFT_DATA']}"]


def _until(told: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + _SOON_S
    while not told():
        assert time.monotonic() < give_up_s, f"not {what} for {_SOON_S:g} s"


def _healthy(program: str | Path, command: list[str], **environment: str) -> bool:
    done = subprocess.run(
        [program, *command], env=os.environ | environment, capture_output=True, check=False, timeout=60
    )
    return done.returncode == 0


def test_the_health_check_of_etcd_tells_a_server_with_a_quorum_from_one_without(etcd_cluster: EtcdCluster) -> None:
    program = binaries.require("etcd-3.5", "etcdctl")

    def healthy() -> bool:
        return _healthy(program, _HEALTH["etcd"][2:], ETCDCTL_ENDPOINTS=etcd_cluster.endpoints[0])

    _until(healthy, "healthy")
    etcd_cluster.kill(1)
    etcd_cluster.kill(2)
    assert not healthy()


def test_the_health_check_of_consul_tells_a_server_with_a_leader_from_one_without(
    consul_cluster: ConsulCluster,
) -> None:
    program = binaries.require("consul", "consul")

    def healthy() -> bool:
        return _healthy(program, _HEALTH["consul"][2:], CONSUL_HTTP_ADDR=consul_cluster.endpoints[0])

    _until(healthy, "healthy")
    consul_cluster.kill(1)
    consul_cluster.kill(2)
    # A leader without followers steps down after its own lease.
    _until(lambda: not healthy(), "unhealthy, alone of three")


def test_the_health_check_of_the_own_store_tells_a_member_with_a_leader_from_one_without(
    raft_cluster: RaftCluster,
) -> None:
    def healthy() -> bool:
        # As in the file, save for the port.
        arguments = ["raft://" + raft_cluster.endpoints[0] if "://" in each else each for each in _HEALTH["raft"][2:]]
        return _healthy(sys.executable, ["-P", "-m", "leasekit", *arguments])

    _until(healthy, "healthy")
    raft_cluster.kill(1)
    raft_cluster.kill(2)
    # A leader without followers steps down within an election time-out.
    _until(lambda: not healthy(), "unhealthy, alone of three")
