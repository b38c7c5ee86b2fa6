"""One simulated machine: a disk that can fail, clocks that are wrong, and the member that runs on it, now and then."""

from __future__ import annotations

import random
from collections import Counter
from typing import Protocol

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.core.types import Membership, Recovered, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.requests import ChangeMembership
from leasekit.backends.raft.server import Freeze, Server, ServerConfig
from leasekit.backends.raft.simulator.connection import Connection
from leasekit.backends.raft.simulator.invariants import Invariants, View, Violation, ensure
from leasekit.backends.raft.simulator.network import Network
from leasekit.backends.raft.simulator.schedule import Action, MachineClock, Schedule
from leasekit.backends.raft.simulator.settings import Settings
from leasekit.backends.raft.simulator.trace import Trace
from leasekit.backends.raft.wal.errors import Corrupt, DiskFailed
from leasekit.backends.raft.wal.log import Wal
from leasekit.backends.raft.wal.memory_disk import MemoryDisk
from leasekit.backends.raft.wire import decode_message, decode_request, encode_message

ELECTION_TICKS = 10
HEARTBEAT_TICKS = 2
ROUNDS_MAX = 10_000
"""Of outputs that one event may bring about."""


class Cluster(Protocol):
    """What a machine needs to know of the world."""

    settings: Settings
    schedule: Schedule
    network: Network
    trace: Trace
    counts: Counter[str]
    invariants: Invariants
    healed: bool
    """Whether the run is in its second phase."""

    def deliver(self, to: str, body: bytes) -> None:
        """A message has come through the network."""

    def looked(self, machine: Machine) -> None:
        """A member has done something."""


class Machine:
    """`bootstrap`: the first members' common start; None for one that joins later, with nothing."""

    def __init__(self, name: str, cluster: Cluster, rng: random.Random, bootstrap: Membership | None) -> None:
        self.name = name
        self.server: Server | None = None
        """None while it is down."""
        self.clock = MachineClock(cluster.schedule, rng)
        self.disk = MemoryDisk()
        self.slow = 1.0
        """How many times longer than usual the disk takes."""
        self.when_writing: Action | None = None
        """To be done once, in the middle of the next write."""
        self._cluster = cluster
        self._rng = rng
        self._bootstrap = bootstrap
        self._life = 0
        self._retired = False
        self._paused_until_s = 0.0
        self._held_back: list[Action] = []
        self._wal: Wal | None = None
        self._unwritten: list[Write] = []
        self._freeze: Freeze | None = None
        self._writing: list[Write] | Freeze | None = None
        self._connections: dict[int, Connection] = {}

    # Life and death.

    def start(self) -> None:
        """Start the member, from what is on the disk."""
        assert self.server is None
        if self._retired:
            return
        settings = self._cluster.settings
        self._life += 1
        try:
            self._wal, recovered = Wal.open(self.disk, segment_bytes=settings.segment_bytes)
            if recovered == Recovered() and self._bootstrap is not None:
                recovered = Recovered(snapshot=Snapshot(SnapshotMeta(membership=self._bootstrap)))
                self._wal.write(Write(number=0, snapshot=recovered.snapshot))
        except Corrupt as error:
            raise Violation(f"a crash has damaged the log of {self.name}: {error}") from error
        except DiskFailed as error:
            self._cluster.trace.note("cannot start", self.name, error)
            self._later(1.0, self.start)
            return
        self._cluster.trace.note(
            "start", self.name, recovered.hard_state, recovered.snapshot.meta, len(recovered.entries)
        )
        self._cluster.invariants.started(self.name, recovered)
        self.server = Server(self.name, recovered, self._config(), random.Random(self._rng.getrandbits(64)), self.clock)
        self._later(self._rng.uniform(0, self._tick_s), self._tick)
        self._drain()

    def crash(self, *, power: bool = True) -> None:
        """Stop at once, in the middle of whatever is being done; `power`: what was not synced may be lost."""
        self._cluster.trace.note("crash", self.name, power)
        self._cluster.counts["crashes"] += 1
        self._life += 1
        self._half_write()
        if self._wal is not None:
            self._wal.close()
        self.disk.hook = None
        if power:
            self.disk.crash(self._rng)
        else:
            self.disk.restart()
        self.server, self._wal = None, None
        self._unwritten, self._freeze, self._writing = [], None, None
        self._paused_until_s, self._held_back = 0.0, []
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.break_off()

    def retire(self) -> None:
        """Switch it off for good."""
        self._retired = True
        if self.server is not None:
            self.crash()

    def start_if_down(self) -> None:
        """Start the member unless it runs."""
        if self.server is None:
            self.start()

    def heal(self) -> None:
        """Nothing is wrong with this machine any more."""
        self.disk.hook = None
        self.free_disk()
        self.mend_disk()

    def break_disk(self, operation: str, error: type[DiskFailed], after: int) -> None:
        """Let this operation fail once, after it was done so many times."""
        left = after

        def fail(doing: str, name: str) -> None:
            nonlocal left
            if doing == operation:
                left -= 1
                if left < 0:
                    self.disk.hook = None
                    raise error(f"injected: cannot {doing} {name}")

        self.disk.hook = fail

    def free_disk(self) -> None:
        """There is room on the disk again."""
        self.disk.capacity_bytes = None

    def mend_disk(self) -> None:
        """The disk is as quick as ever."""
        self.slow = 1.0

    def pause(self, for_s: float) -> None:
        """Do nothing for `for_s`; what happens meanwhile is noticed afterwards. Nothing pauses what is down."""
        if self.server is None:
            return
        self._paused_until_s = self._cluster.schedule.now_s + for_s
        self._later(for_s, self._wake_up)

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._cluster.schedule.now_s < self._paused_until_s

    def _wake_up(self) -> None:
        held_back, self._held_back = self._held_back, []
        for action in held_back:
            self._act(action)

    def _config(self) -> ServerConfig:
        settings = self._cluster.settings
        core = Config(
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=HEARTBEAT_TICKS,
            max_append_bytes=settings.max_append_bytes,
            max_apply_bytes=settings.max_apply_bytes,
            max_inflight=settings.max_inflight,
            snapshot_piece_bytes=settings.snapshot_piece_bytes,
        )
        return ServerConfig(
            core=core, snapshot_every_entries=settings.snapshot_entries, keep_entries=settings.keep_entries
        )

    @property
    def _tick_s(self) -> float:
        return self._cluster.settings.election_timeout_s / ELECTION_TICKS

    # What happens to the member.

    def received(self, body: bytes) -> None:
        """A message has come."""

        def receive() -> None:
            assert self.server is not None
            message = decode_message(body)
            self._cluster.trace.note("receive", message, body=body)
            before = self._standing()
            self.server.receive(message)
            # Paper section 5.1.
            obeyed = message.term < before[0] and self._standing() != before
            ensure(not obeyed, "a message of an earlier term changes something", message, before)

        self._act(receive)

    def _standing(self) -> tuple[int, object, object, int, int, int]:
        assert self.server is not None
        raft = self.server.raft
        return raft.term, raft.vote, raft.leader_id, raft.log.last_index, raft.log.last_term, raft.log.committed

    def asked(self, connection: Connection, body: bytes) -> None:
        """A client's request has come."""
        if self.server is None:
            connection.break_off()
            return
        request = decode_request(body)

        def ask() -> None:
            assert self.server is not None
            if self._cluster.healed and isinstance(request, ChangeMembership):
                return  # while a bare majority runs, a change that is all right could rightly be the last one
            self._connections[connection.number] = connection
            self.server.request(connection.number, request)

        self._act(ask)

    def hung_up(self, connection: Connection) -> None:
        """A client has closed its connection."""

        def hang_up() -> None:
            assert self.server is not None
            if self._connections.pop(connection.number, None) is not None:
                self.server.disconnected(connection.number)

        self._act(hang_up)

    def _tick(self) -> None:
        def tick() -> None:
            assert self.server is not None
            self.server.tick()

        self._later(self.clock.true_delay_s(self._tick_s), self._tick)
        if self.paused:
            return  # a timer that was due many times goes off once
        self._act(tick)

    def _act(self, action: Action) -> None:
        """Let the member notice something, and do what follows from it. Not while it is down; later, while it is paused."""
        if self.server is None:
            return
        if self.paused:
            self._held_back.append(action)
            return
        action()
        self._drain()

    def _later(self, delay_s: float, action: Action) -> None:
        life = self._life

        def in_this_life() -> None:
            if life == self._life:
                action()

        self._cluster.schedule.after(delay_s, in_this_life)

    # What the member does.

    def _drain(self) -> None:
        server = self.server
        assert server is not None
        rounds = 0
        while server.has_output:
            rounds += 1
            ensure(rounds < ROUNDS_MAX, "a member never comes to rest", self.name)
            output = server.output()
            if output.write is not None:
                self._cluster.invariants.wrote(self.name, output.write)
                self._unwritten.append(output.write)
            for message in output.messages:
                self._send(message)
            for client, response in output.replies:
                assert isinstance(client, int)
                if (connection := self._connections.get(client)) is not None:
                    connection.reply(response)
            if output.freeze is not None:
                self._freeze = output.freeze
        self._cluster.looked(self)
        if self._freeze is not None:
            self._cluster.invariants.froze(self.name, self._freeze.meta)
        self._start_writing()

    def _send(self, message: Message) -> None:
        self._cluster.invariants.sent(message)
        body = encode_message(message)
        to = message.to
        self._cluster.network.send(self.name, to, lambda: self._cluster.deliver(to, body))

    # The disk, which takes its time. Everything that waits is written with one sync.

    def _start_writing(self) -> None:
        if self._writing is not None or self.server is None or self.server.failure is not None:
            return
        if self._unwritten:
            self._writing, self._unwritten = self._unwritten, []
        elif self._freeze is not None:
            self._writing, self._freeze = self._freeze, None
        else:
            return
        takes_s = self._rng.expovariate(1 / (self._cluster.settings.disk_mean_s * self.slow))
        self._later(takes_s, self._written)
        if self.when_writing is not None:
            self._later(takes_s * self._rng.random(), self.when_writing)
            self.when_writing = None

    def _written(self) -> None:
        if self.paused:
            # The disk has done its work, but nobody has noticed yet.
            self._held_back.append(self._finish_writing)
            return
        self._act(self._finish_writing)

    def _finish_writing(self) -> None:
        server, writing, self._writing = self.server, self._writing, None
        assert server is not None and self._wal is not None
        try:
            snapshot = self._write(self._wal, writing)
        except DiskFailed as error:
            self._cluster.trace.note("disk failed", self.name, error)
            self._cluster.counts["disk failures"] += 1
            server.disk_failed(str(error))
            self._later(self._rng.uniform(0, 2), self._restart)
            return
        if snapshot is not None:
            self._cluster.counts["snapshots"] += 1
            server.snapshot_saved(snapshot)
        elif isinstance(writing, list):
            self._cluster.invariants.persisted(self.name, writing[-1].number)
            server.persisted(writing[-1].number)

    def _write(self, wal: Wal, writing: list[Write] | Freeze | None) -> Snapshot | None:
        if isinstance(writing, list):
            wal.write_all(writing)
            return None
        assert writing is not None
        snapshot = writing.encode()
        keep_from = snapshot.meta.index + 1 - self._cluster.settings.keep_entries
        wal.compact(snapshot, keep_from_index=max(1, keep_from))
        return snapshot

    def _half_write(self) -> None:
        """Some part of what was being written gets to the disk before the crash."""
        if self._writing is None or self._wal is None or self._rng.random() < 0.2:
            return
        # A snapshot takes more steps than entries do: two files and their names, and what they make useless.
        left = self._rng.randint(0, 5 if isinstance(self._writing, list) else 18)

        def cut(operation: str, name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise DiskFailed(f"the machine fails before {operation} {name}")

        self.disk.hook = cut
        try:
            self._write(self._wal, self._writing)
        except DiskFailed:
            self._cluster.counts["crashes while writing"] += 1

    def _restart(self) -> None:
        """A member whose disk has failed stops, and is started anew by whoever supervises it."""
        self.crash()
        self._later(self._rng.uniform(0, 2), self.start)

    def view(self) -> View:
        """What the member is now."""
        assert self.server is not None
        raft = self.server.raft
        log = raft.log
        return View(
            member=self.name,
            role=raft.role,
            term=raft.term,
            snapshot=0 if log.restoring else log.snapshot.meta.index,
            applied=log.applied,
            committed=log.committed,
            last=log.last_index,
            membership=raft.membership,
            membership_index=log.membership_index,
        )
