"""Telling systemd how a service fares (`sd_notify`), in pure Python: `Type=notify`, `WatchdogSec=`, `systemctl status`.

    with systemd.Notifier() as service:
        service.ready("waits for its turn")
        with election.campaign() as leadership:
            service.status(f"leads with token {leadership.token}")
            ...

Where systemd does not listen (no NOTIFY_SOCKET) all of this does nothing, so the program runs in a terminal as well.

Promised: the keepalive for `WatchdogSec=` is sent from the loop that renews leases. If that loop hangs, or the process
is stopped, none is sent, and systemd ends the process and starts it anew. Not promised: anything about your own code,
which may hang while leasekit does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Self

from leasekit import engine

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd hands over. It is for one process: do not pass it on to children that know nothing of it."""
SEND_TIMEOUT_S = 1.0
_log = logging.getLogger("leasekit")


class Notifier:
    """The service's line to systemd. Enter it with `with`: then it keeps alive, and says STOPPING on the way out.

    Args:
        environment: where systemd's variables are; None: this process's environment.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self._address = _address(given.get("NOTIFY_SOCKET", ""))
        self.keepalive_s = _keepalive_s(given) if self.listening else None
        """How often systemd is told that the service lives, in seconds: half of `WatchdogSec=`. None: it does not ask."""
        self._keeping: Future[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether systemd listens."""
        return self._address is not None

    def ready(self, status: str | None = None) -> bool:
        """The service is up: units ordered after it may start. For a candidate that is so while it waits, too."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """What `systemctl status` shows, in one line."""
        return self._send(*_status(text))

    def stopping(self, status: str | None = None) -> bool:
        """The service is on its way down."""
        return self._send("STOPPING=1", *_status(status))

    def keep_alive(self) -> None:
        """Send keepalives from now on, for as long as leasekit's loop runs. Does nothing if systemd asks for none."""
        if self.keepalive_s is not None and self._keeping is None:
            self._keeping = engine.get().submit(self._keep_alive(self.keepalive_s))

    def close(self) -> None:
        """Send no more keepalives."""
        if self._keeping is not None:
            engine.get().abandon(self._keeping)
            self._keeping = None

    def __enter__(self) -> Self:
        self.keep_alive()
        return self

    def __exit__(self, *_: object) -> None:
        # Keepalives go on until the process ends: stopping may take longer than systemd's patience with silence.
        self.stopping()

    async def _keep_alive(self, every_s: float) -> None:
        while True:
            self._send("WATCHDOG=1", timeout_s=0)
            await asyncio.sleep(every_s)

    def _send(self, *lines: str, timeout_s: float = SEND_TIMEOUT_S) -> bool:
        """Whether it was handed over. A service does not fail for want of somebody who listens."""
        if self._address is None:
            return False
        try:
            # A socket for each message: nothing to share with a fork, and nothing to close.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.settimeout(timeout_s)
                sending.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.warning("systemd could not be told %s: %s", lines[0].partition("=")[0], error)
            return False
        return True


def environment_without(environment: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: all of this but systemd's line, which is the service's own."""
    return {name: value for name, value in environment.items() if name not in VARIABLES}


def _address(given: str) -> str | bytes | None:
    """A path, or an abstract name (given with @ in place of the zero byte)."""
    if not given:
        return None
    if not hasattr(socket, "AF_UNIX") or given[0] not in "/@" or len(given) < 2:
        _log.warning("NOTIFY_SOCKET=%s is no socket that leasekit can speak to; systemd is told nothing", given)
        return None
    return os.fsencode(given) if given[0] == "/" else b"\0" + os.fsencode(given[1:])


def _keepalive_s(given: Mapping[str, str]) -> float | None:
    """Half of the time that systemd has patience for, as sd_watchdog_enabled(3) advises."""
    if (pid := given.get("WATCHDOG_PID")) and pid != str(os.getpid()):
        return None  # a parent's that was passed on
    with contextlib.suppress(ValueError):
        patience_us = int(given.get("WATCHDOG_USEC", "0"))
        if patience_us > 0:
            return patience_us / 1e6 / 2
    return None


def _status(text: str | None) -> list[str]:
    return [] if text is None else ["STATUS=" + " ".join(text.splitlines())]
