"""Where the servers' programs are found, and ports for them."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from random import Random

SERVERS_VARIABLE = "LEASEKIT_SERVERS"

# Below the range that the kernel hands to outgoing connections, so that none of those sits on a port that a server
# leaves for the moment in which it is started again.
_LOWEST_PORT, _HIGHEST_PORT = 10_000, 32_000


def find(program: str, folders: Sequence[Path]) -> Path | None:
    """A program: in one of these folders (`etcd`, `etcd/etcd` or `etcd-3.5/etcd`, of several versions the latest), or on
    PATH; None if it is nowhere."""
    for folder in folders:
        versions = sorted(folder.glob(f"{program}-*/{program}"), key=_version, reverse=True)
        for file in (folder / program, folder / program / program, *versions):
            if file.is_file() and os.access(file, os.X_OK):
                return file.resolve()
    found = shutil.which(program)
    return None if found is None else Path(found).resolve()


def _version(file: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", file.parent.name)]


def free_ports(count: int, random: Random, taken: Collection[int] = ()) -> list[int]:
    """So many ports on 127.0.0.1 on which nobody listens now. Another program may still come first: then the server
    says so and ends, and whoever started it tries others."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(_LOWEST_PORT, _HIGHEST_PORT)
        if port not in ports and port not in taken and _free(port):
            ports.append(port)
    return ports


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
