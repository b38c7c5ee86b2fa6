"""The cluster of `leasekit demo --store raft`: three members on this machine, whose own leader is killed first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from leasekit.backends.raft.core.types import Role
from leasekit.backends.raft.member.asking import ask_status
from leasekit.backends.raft.requests import MemberStatus
from leasekit.cli.demo_stage import Stage, Worker
from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.errors import ProtocolError, StoreUnavailable
from leasekit.watchdog import processes

NAMES = ("oslo", "lima", "rome")
# Quick, so that a short lease outlives the loss of the leading member.
HEARTBEAT_MS = 50
ELECTION_MS = 300
START_TIMEOUT_S = 60.0
ELECTED_TIMEOUT_S = 60.0
END_TIMEOUT_S = 5.0
_ASK_TIMEOUT_S = 2.0
_BETWEEN_LOOKS_S = 0.01
_AS_MEMBER = "import sys; from leasekit.cli.raft.demo import run_member; run_member(sys.argv[1:])"


class Members:
    """A context manager: on leaving it no member is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._addresses = dict(zip(NAMES, _free_addresses(len(NAMES)), strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"raft://{','.join(self._addresses.values())}"

    def __enter__(self) -> Self:
        try:
            for name in NAMES:
                self._start(name)
            self._wait_for_leader(START_TIMEOUT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def introduce(self, stage: Stage) -> None:
        """Say that they are there."""
        leader = self._wait_for_leader(START_TIMEOUT_S)
        stage.say(f"Three members keep the leases: {', '.join(NAMES)}. {leader} leads them; any two are enough.")

    def lose_leader(self, stage: Stage, worker: Worker, ttl_s: float) -> tuple[str, float]:
        """Kill the leading member; the leading worker leads on. What happened, and how long no member led."""
        lost = self._wait_for_leader(ELECTED_TIMEOUT_S)
        stage.act(f"kill -9 {lost}, the member that leads the others")
        process = self._running.pop(lost)
        process.kill()
        process.wait()
        successor = self._wait_for_leader(ELECTED_TIMEOUT_S, stage)
        empty_s = stage.since_act_s(SYSTEM_CLOCK.now())
        stage.tell(f"{successor} leads the members")
        # Until no renewal from before can be what it leads by.
        stage.look_on(ttl_s)
        if stage.has_heard("lost") or stage.has_heard("elected"):
            stage.tell(f"{worker.name}'s lease ran out meanwhile: this machine is too busy for leases of {ttl_s:g} s")
        else:
            stage.tell(f"{worker.name} leads on, its lease renewed by {successor}")
        self._start(lost)
        self._wait_for_answer(lost, stage)
        stage.tell(f"{lost} is started again, and gets what it missed")
        return f"{lost}, the leading member, killed", empty_s

    def _start(self, name: str) -> None:
        initial = ",".join(f"{member}={address}" for member, address in self._addresses.items())
        arguments = ["--id", name, "--data", str(self._folder / name), "--initial", initial]
        arguments += ["--heartbeat-ms", str(HEARTBEAT_MS), "--election-ms", str(ELECTION_MS)]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-P", "-c", _AS_MEMBER, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is the demo's, which ends its members itself
            )

    def _end(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait_for_leader(self, timeout_s: float, stage: Stage | None = None) -> str:
        """Its name. Tells what the workers say meanwhile."""
        give_up = SYSTEM_CLOCK.now().plus(timeout_s)
        while True:
            for name in self._running:
                status = self._ask(name)
                if status is not None and status.raft.role is Role.LEADER:
                    return name
            self._pass_moment(give_up, stage, "a member to lead")

    def _wait_for_answer(self, name: str, stage: Stage) -> None:
        give_up = SYSTEM_CLOCK.now().plus(START_TIMEOUT_S)
        while (status := self._ask(name)) is None or status.raft.leader is None:
            self._pass_moment(give_up, stage, f"{name} to come back")

    def _pass_moment(self, give_up: Instant, stage: Stage | None, what: str) -> None:
        if SYSTEM_CLOCK.now().reached(give_up):
            raise StoreUnavailable(f"the demo waited for {what}, in vain")
        if stage is not None:
            stage.look_on(_BETWEEN_LOOKS_S)

    def _ask(self, name: str) -> MemberStatus | None:
        with contextlib.suppress(StoreUnavailable, ProtocolError):
            return asyncio.run(ask_status(self._addresses[name], None, timeout_s=_ASK_TIMEOUT_S))[0]
        return None


def run_member(arguments: list[str]) -> None:
    """In a member's process: `leasekit raft serve`, which ends with the demo however that ends."""
    processes.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() == 1:
        return
    from leasekit.cli.main import main

    main(["raft", "serve", *arguments])


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for reserved in sockets:
            reserved.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{reserved.getsockname()[1]}" for reserved in sockets]
