"""What a leader knows of another member's log, and how much it may send to it."""

from __future__ import annotations

import enum
from collections import deque

from leasekit.backends.raft.core.types import PeerStatus, Snapshot


class State(enum.Enum):
    """How entries are sent."""

    PROBE = "probe"
    """One request at a time, until the place is found where the logs agree."""
    REPLICATE = "replicate"
    """Many requests on the way at once."""
    SNAPSHOT = "snapshot"
    """It is so far behind that it gets a snapshot first, piece by piece."""


class Progress:
    """`match`: surely there and durable. `next`: the next entry to send."""

    def __init__(self, next_index: int, max_inflight: int) -> None:
        self.match = 0
        self.next = next_index
        self.state = State.PROBE
        self.waiting = False
        """Probe: one is on the way. Snapshot: a piece is. Until an answer, or the next heartbeat's."""
        self.active = False
        """Heard from since the last check of the quorum."""
        self.was_active = False
        """Heard from between the two checks before."""
        self.check_round: int | None = None
        """The round of a heartbeat sent after the last request: answered before that one, it shows what was lost."""
        self.remind = False
        """An empty request is due, which the member rejects if it misses anything."""
        self.acknowledged_round = 0
        self.told_commit = 0
        self.snapshot: Snapshot | None = None
        self.offset = 0
        self._sent_offset = 0
        self._inflight: deque[int] = deque()
        self._max_inflight = max_inflight

    @property
    def may_send(self) -> bool:
        """Whether another request may be sent before an answer has come."""
        if self.state is State.REPLICATE:
            return len(self._inflight) < self._max_inflight
        return not self.waiting

    def sent(self, last_index: int) -> None:
        """Entries up to `last_index` were sent."""
        self.remind = False
        self.check_round = None
        if self.state is not State.REPLICATE:
            self.waiting = True
        elif last_index >= self.next:
            self._inflight.append(last_index)
            self.next = last_index + 1

    def sent_piece(self) -> None:
        """The piece of the snapshot at `offset` was sent."""
        self._sent_offset = self.offset
        self.check_round = None
        self.waiting = True

    def matched(self, index: int) -> bool:
        """The member has everything up to `index`; whether that is news."""
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        while self._inflight and self._inflight[0] <= index:
            self._inflight.popleft()
        if self.state is State.PROBE or (self.snapshot is not None and self.match >= self.snapshot.meta.index):
            self._become(State.REPLICATE)
            self.next = self.match + 1
        return news

    def rejected(self, previous_index: int, agreement: int) -> bool:
        """The entry at `previous_index` is not there; the logs agree at `agreement` at best. False: an old answer."""
        if previous_index <= self.match:
            return False  # old, or from a member that has lost its disk: to ask again at once would never end
        if self.state is State.REPLICATE:
            self.probe(self.match + 1)
            return True
        if self.state is State.SNAPSHOT or previous_index != self.next - 1:
            return False
        self.probe(max(min(previous_index, agreement + 1), self.match + 1))
        return True

    def probe(self, next_index: int) -> None:
        """Look for the place where the logs agree, from `next_index` on."""
        self._become(State.PROBE)
        self.next = next_index

    def begin_snapshot(self, snapshot: Snapshot) -> None:
        """Send `snapshot` from its beginning."""
        self._become(State.SNAPSHOT)
        self.snapshot = snapshot

    def received_piece(self, index: int, offset: int) -> None:
        """Of the snapshot at `index` everything before `offset` is there.

        Only what is beyond the last piece sent brings the next one at once. An answer to a repeated piece must not:
        from then on every piece would be sent twice, three times, and so on.
        """
        if self.snapshot is not None and self.snapshot.meta.index == index:
            self.offset = min(offset, len(self.snapshot.data))
            if offset > self._sent_offset:
                self.waiting = False

    def check_by(self, heartbeat_round: int) -> None:
        """A heartbeat of that round is sent: on a link that keeps the order, it is behind all requests."""
        if self.check_round is None:
            self.check_round = heartbeat_round

    def answered_heartbeat(self, heartbeat_round: int, last_index: int) -> None:
        """If the member still owes an answer to what was sent before that heartbeat, it, or what it answers, was lost."""
        if self.check_round is None or heartbeat_round < self.check_round:
            return
        self.check_round = None
        self.waiting = False
        if self.state is State.REPLICATE:
            self.remind = self.match < last_index
            if len(self._inflight) >= self._max_inflight:
                self._inflight.popleft()

    def status(self) -> PeerStatus:
        """For people."""
        return PeerStatus(self.match, self.next, self.state.value, self.active)

    def _become(self, state: State) -> None:
        self.state = state
        self.waiting = False
        self.snapshot = None
        self.offset = 0
        self._inflight.clear()
