"""Free ports that stay ours, also while the server that uses them is down."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below the range that the kernel hands to outgoing connections, so none of those sits on a port of ours.
_LOWEST, _HIGHEST = 10_000, 32_000


def lock(name: str) -> int | None:
    """A file descriptor that, while open, keeps `name` from all other test processes; None if one of them has it."""
    folder = Path(tempfile.gettempdir()) / f"leasekit-test-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class Reservation:
    """`count` ports on 127.0.0.1 that no other test process takes until `release()`.

    A lock per port keeps concurrent test processes apart; a trial bind keeps off what other programs use. Those can
    still come between, so whoever starts a server tries again with other ports when binding fails.
    """

    def __init__(self, count: int) -> None:
        self._locks: list[int] = []
        self.ports: list[int] = []
        while len(self.ports) < count:
            port = random.randrange(_LOWEST, _HIGHEST)
            descriptor = lock(f"port-{port}")
            if descriptor is None:
                continue
            if _free(port):
                self._locks.append(descriptor)
                self.ports.append(port)
            else:
                os.close(descriptor)

    def release(self) -> None:
        """Let others have the ports."""
        while self._locks:
            os.close(self._locks.pop())


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
