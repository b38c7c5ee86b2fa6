"""What turns the server: everything that comes is put into an inbox, and one turn of the loop later worked off whole.

    sockets --on_message, on_request--> inbox --turn--> Server --output--> links, storage, clients
                                                  ^                            |
                                               persisted <-- disk thread <-----+

A turn runs as soon as the loop has read what was there, so what came together is proposed, sent and written together.
Nothing waits for a timer. While storage syncs, the next turn goes on: the leader's own write runs beside replication.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Protocol

from leasekit.backends.raft.core.messages import Append, Message
from leasekit.backends.raft.core.types import MemberId, Membership, Snapshot, Write
from leasekit.backends.raft.member.config import Timing
from leasekit.backends.raft.requests import AskStatus, Done, MemberStatus, Request, Response, Unwatch
from leasekit.backends.raft.server import Freeze, Server
from leasekit.backends.raft.transport import Client
from leasekit.backends.raft.wal.errors import DiskFailed

_LOG = logging.getLogger("leasekit.raft")

OUTSTANDING_MAX = 1024
"""Requests of one client that wait for an answer. Beyond that its connection is not read."""
_SLICE_S = 0.005
"""A turn that takes longer lets the loop read, and goes on after that."""
_WARN_AGAIN_S = 10.0
_MET_MAX = 1000
"""Members that are ever listened to: many times what a cluster sees in its life. Without TLS anybody can name more."""
_HELD_BACK_MAX = 100
"""Messages of a member that is being noted; more are dropped, as a network may."""


class Disk(Protocol):
    """What `Storage` does for a turn."""

    def write(self, write: Write) -> None: ...

    def freeze(self, freeze: Freeze) -> None: ...

    def remember(self, member: MemberId) -> None: ...


class Driver:
    """Owns the server. All of it runs on one loop.

    Args:
        send: sends a message to another member, or drops it.
        know: told of each new membership.
        about_process: adds to a status what only the process knows.
        ended: told once why this member takes no part any more. After a disk failure it still answers, that it is
            unavailable; after any other error, which is a fault of the program or an entry that this version cannot
            apply, it does nothing.
    """

    def __init__(
        self,
        server: Server,
        timing: Timing,
        met: frozenset[MemberId],
        *,
        send: Callable[[Message], None],
        know: Callable[[Membership], None],
        about_process: Callable[[MemberStatus], MemberStatus],
        ended: Callable[[BaseException], None],
    ) -> None:
        self.server = server
        self.disk_failure: DiskFailed | None = None
        self._timing = timing
        self._met = met
        self._strangers: dict[MemberId, list[Message]] = {}
        self._send, self._know, self._about_process, self._ended = send, know, about_process, ended
        self._loop = asyncio.get_running_loop()
        self._disk: Disk | None = None
        self._inbox: list[Message | tuple[Client, Request]] = []
        self._outstanding: dict[Client, set[int]] = {}
        self._held: set[Client] = set()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._warned_s = -_WARN_AGAIN_S
        self._membership: Membership | None = None
        self._leader: tuple[int, MemberId | None] = 0, None
        self._succeeded = asyncio.Event()

    def start(self, disk: Disk) -> None:
        """Time begins to pass."""
        self._disk = disk
        self._follow_membership()
        self._due_s = self._loop.time() + self._timing.tick_s
        self._timer = self._loop.call_at(self._due_s, self._tick)

    def stop(self) -> None:
        """Nothing happens any more."""
        self._disk = None
        if self._timer is not None:
            self._timer.cancel()

    @property
    def running(self) -> bool:
        """Between `start` and `stop`."""
        return self._disk is not None

    async def wait_succeeded(self) -> None:
        """Return when another member leads."""
        self._succeeded.clear()
        self._note_leader()
        await self._succeeded.wait()

    # What the transport tells.

    def on_message(self, message: Message) -> None:
        if message.sender in self._met:
            self._inbox.append(message)
            self._soon()
            return
        # It counts only once it is durable that this member was here before.
        if message.sender not in self._strangers and len(self._met) + len(self._strangers) >= _MET_MAX:
            return
        waiting = self._strangers.setdefault(message.sender, [])
        if not waiting and self._disk is not None and self.disk_failure is None:
            self._disk.remember(message.sender)
        if len(waiting) < _HELD_BACK_MAX:
            waiting.append(message)

    def on_request(self, client: Client, request: Request) -> None:
        if isinstance(request, AskStatus):
            # Also from a member whose disk has failed, or that has a long turn before it.
            client.send(Done(id=request.id, result=self.status()))
            return
        if not isinstance(request, Unwatch):
            outstanding = self._outstanding.setdefault(client, set())
            outstanding.add(request.id)
            if len(outstanding) > OUTSTANDING_MAX and client not in self._held:
                self._hold(client, True)
        self._inbox.append((client, request))
        self._soon()

    def on_disconnect(self, client: Client) -> None:
        self._outstanding.pop(client, None)
        self._held.discard(client)
        # Its requests that wait in the inbox come first: a watch that is begun after its client's end would stay.
        self._turn(lambda: self.server.disconnected(client))

    def status(self) -> MemberStatus:
        """This member as it sees itself."""
        status = dataclasses.replace(self.server.member_status(), met=tuple(sorted(self._met)))
        return self._about_process(status)

    # What the disk tells.

    def persisted(self, number: int) -> None:
        self._turn(lambda: self.server.persisted(number))

    def saved(self, snapshot: Snapshot) -> None:
        self._turn(lambda: self.server.snapshot_saved(snapshot))

    def was_met(self, member: MemberId) -> None:
        self._met |= {member}
        self._inbox += self._strangers.pop(member, [])
        self._turn()

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, DiskFailed):
            self._crash(error)
        elif self.disk_failure is None:
            self.disk_failure = error
            _LOG.error("%s: the disk failed, this member takes no part any more: %s", self.server.raft.id, error)
            self._turn(lambda: self.server.disk_failed(str(error)))
            self._ended(error)

    # Turns.

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_turn)

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        self._turn()

    def _turn(self, then: Callable[[], None] | None = None) -> None:
        """Work off what has come, and `then` what has happened here."""
        if not self.running:
            return
        try:
            self._take_inbox()
            if then is not None:
                then()
            self._give_outputs()
        except Exception as error:  # noqa: BLE001 (whatever it is, this member must not go on)
            self._crash(error)

    def _take_inbox(self) -> None:
        inbox, self._inbox = self._inbox, []
        for item in inbox:
            if isinstance(item, Message):
                self.server.receive(item)
            else:
                self.server.request(*item)

    def _give_outputs(self) -> None:
        server, disk, send = self.server, self._disk, self._send
        assert disk is not None
        until_s = self._loop.time() + _SLICE_S
        while server.has_output:
            output = server.output()
            if server.raft.membership is not self._membership:
                self._follow_membership()
            # Who waits for an answer does not wait until the others are told that they, too, may apply it.
            notices = [message for message in output.messages if isinstance(message, Append) and not message.entries]
            for message in output.messages:
                if not isinstance(message, Append) or message.entries:
                    send(message)
            if output.write is not None:
                disk.write(output.write)
            for client, response in output.replies:
                self._reply(client, response)  # type: ignore[arg-type]  # whom `on_request` was told of
            for message in notices:
                send(message)
            if output.freeze is not None:
                disk.freeze(output.freeze)
            if self._loop.time() > until_s:
                self._soon()
                break
        self._note_leader()

    def _reply(self, client: Client, response: Response) -> None:
        client.send(response)
        outstanding = self._outstanding.get(client)
        if outstanding is None:
            return
        # A watch's events bear its id as well; the first of them is its answer.
        outstanding.discard(response.id)
        if client in self._held and len(outstanding) <= OUTSTANDING_MAX // 2:
            self._hold(client, False)

    def _hold(self, client: Client, held: bool) -> None:
        (self._held.add if held else self._held.discard)(client)
        client.hold(held)

    def _note_leader(self) -> None:
        raft = self.server.raft
        if raft.leading is None and raft.leader_id is not None:
            self._succeeded.set()
        leader = raft.term, raft.leader_id
        if raft.leader_id is not None and leader != self._leader:
            self._leader = leader
            says = "leads" if raft.leading is not None else f"follows {raft.leader_id}"
            _LOG.info("%s %s in term %d", raft.id, says, raft.term)

    def _follow_membership(self) -> None:
        self._membership = self.server.raft.membership
        self._know(self._membership)

    def _crash(self, error: BaseException) -> None:
        if self.running:
            self.stop()
            _LOG.critical("%s stops: %s: %s", self.server.raft.id, type(error).__name__, error, exc_info=error)
            self._ended(error)

    # Time.

    def _tick(self) -> None:
        now_s = self._loop.time()
        late_s = now_s - self._due_s
        stalled = late_s > self._timing.tick_s
        # After a stall one tick, not all that were missed.
        self._due_s = (now_s if stalled else self._due_s) + self._timing.tick_s
        self._timer = self._loop.call_at(self._due_s, self._tick)
        if not stalled:
            self._turn(self.server.tick)
            return
        if late_s > self._timing.heartbeat_ms / 1000 and now_s - self._warned_s >= _WARN_AGAIN_S:
            self._warned_s = now_s
            _LOG.warning("%s was held up for %.0f ms, longer than a heartbeat", self.server.raft.id, late_s * 1000)
        # What came meanwhile must be heard before time passes: the loop reads once more before it comes to this.
        self._loop.call_soon(self._turn, self.server.tick)
