"""Hosts of their own: network namespaces on a switch that can lose a host's packets. As root on Linux."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from support import binaries
from support.ports import lock
from support.processes import ServerProcess

# Of 198.18.0.0/15, meant for tests of networks (RFC 2544): 8192 subnets of 14 hosts.
_SUBNETS = 8192
_HOSTS = 13
_READY_S = 30.0
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21


class Namespace:
    """A network namespace that lives as long as a process in it, so that it never outlives the test run."""

    def __init__(self, log: Path) -> None:
        self._holder = ServerProcess(["unshare", "--net", "sleep", "infinity"], log)
        self.pid = self._holder.pid
        give_up_s = time.monotonic() + _READY_S
        while not self._entered():
            assert self._holder.running, self._holder.output()
            assert time.monotonic() < give_up_s, f"no network namespace within {_READY_S:g} s"
            time.sleep(0.002)
        self.ip("link", "set", "lo", "up")

    def _entered(self) -> bool:
        try:
            own = (Path(f"/proc/{self.pid}/ns/net")).readlink()
            command = Path(f"/proc/{self.pid}/comm").read_text().strip()
        except OSError:
            return False
        return own != Path("/proc/self/ns/net").readlink() and command == "sleep"

    def command(self, command: Sequence[str | Path]) -> list[str]:
        """`command` as it is run inside; the process is the command itself, with nothing around it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *(str(part) for part in command)]

    def ip(self, *arguments: str) -> None:
        """Run `ip` inside."""
        subprocess.run(self.command(["ip", *arguments]), check=True)

    def close(self) -> None:
        """End it, and the links that lead into it."""
        self._holder.kill()


class Host:
    """One host of a `Network`."""

    def __init__(self, network: Network, number: int) -> None:
        self.address = network.address_of(number)
        self._port = f"port{number}"
        self._switch = network.switch
        self.namespace = Namespace(network.log)
        self._switch.ip("link", "add", self._port, "type", "veth", "peer", "eth0", "netns", str(self.namespace.pid))
        self.namespace.ip("addr", "add", f"{self.address}/28", "dev", "eth0")
        self.namespace.ip("link", "set", "eth0", "up")
        self._switch.ip("link", "set", self._port, "up")
        self.heal()

    def cut(self) -> None:
        """Its packets vanish, both ways. The link stays up, so nobody is told."""
        self._switch.ip("link", "set", self._port, "nomaster")

    def heal(self) -> None:
        """Its packets arrive again."""
        self._switch.ip("link", "set", self._port, "master", "switch")

    def run(self, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """`subprocess.run` on this host, with text output captured."""
        return subprocess.run(self.namespace.command(command), capture_output=True, text=True, check=False, **options)

    def popen(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """`subprocess.Popen` on this host; its pid is the command's own."""
        return subprocess.Popen(self.namespace.command(command), text=True, **options)


class Network:
    """A switch with hosts on it, and this machine. Use as a context manager.

    `Proxy(target, host=network.address)` lets the hosts reach a server that listens on this machine's loopback.
    """

    def __enter__(self) -> Self:
        _require_rights()
        self._number, self._lock = _free_subnet()
        self._folder = tempfile.TemporaryDirectory(prefix="leasekit-netns-")
        self.log = Path(self._folder.name) / "log"
        self.hosts: list[Host] = []
        self.switch = Namespace(self.log)
        self.switch.ip("link", "add", "switch", "type", "bridge")
        self.switch.ip("link", "set", "switch", "up")
        # All of it hangs on the namespaces: this machine's end of the link goes with the switch.
        uplink = f"leasekit{self._number}"
        _ip("link", "add", uplink, "type", "veth", "peer", "uplink", "netns", str(self.switch.pid))
        _ip("addr", "add", f"{self.address}/28", "dev", uplink)
        _ip("link", "set", uplink, "up")
        self.switch.ip("link", "set", "uplink", "master", "switch", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.namespace.close()
        self.switch.close()
        self._folder.cleanup()
        os.close(self._lock)

    @property
    def address(self) -> str:
        """This machine, as the hosts see it."""
        return self.address_of(0)

    def address_of(self, number: int) -> str:
        """The address of host `number`, from 1."""
        last = self._number * 16 + 1 + number
        return f"198.{18 + (last >> 16)}.{last >> 8 & 255}.{last & 255}"

    def host(self) -> Host:
        """One more host."""
        assert len(self.hosts) < _HOSTS, "the subnet is full"
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _free_subnet() -> tuple[int, int]:
    while True:
        number = random.randrange(_SUBNETS)
        descriptor = lock(f"subnet-{number}")
        if descriptor is not None:
            return number, descriptor


def _require_rights() -> None:
    """Skip without the rights to make namespaces; with them nothing may be missing in CI."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    if not (effective >> _CAP_NET_ADMIN & 1 and effective >> _CAP_SYS_ADMIN & 1):
        pytest.skip(f"{binaries.MISSING}the right to make network namespaces (run as root on Linux)")
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            binaries.refuse(program, f"install {package}")
