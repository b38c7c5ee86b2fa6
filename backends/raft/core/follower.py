"""Obeying a leader: its entries, its heartbeats, its snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotPiece,
    SnapshotReply,
)
from leasekit.backends.raft.core.types import Snapshot, SnapshotMeta

if TYPE_CHECKING:
    from leasekit.backends.raft.core.machine import Raft


class Incoming:
    """A snapshot that is being received from the leader of one term."""

    def __init__(self) -> None:
        self.meta: SnapshotMeta | None = None
        self.data = bytearray()

    def add(self, piece: SnapshotPiece) -> Snapshot | None:
        """Take `piece` if it is the next one; the snapshot once it is whole."""
        if piece.meta != self.meta:
            self.meta, self.data = piece.meta, bytearray()
        if piece.offset == len(self.data):
            self.data += piece.data
        if len(self.data) < piece.size:
            return None
        whole = Snapshot(piece.meta, bytes(self.data))
        self._forget()
        return whole

    def forget_up_to(self, committed: int) -> None:
        """Everything up to `committed` is here by now: a snapshot of less is of no use."""
        if self.meta is not None and self.meta.index <= committed:
            self._forget()

    def _forget(self) -> None:
        self.meta, self.data = None, bytearray()


def obey(raft: Raft, message: Append | Heartbeat | SnapshotPiece) -> None:
    """Do as the leader of this term says."""
    match message:
        case Append():
            _append(raft, message)
        case Heartbeat():
            # No more than what the leader knows to be here, so it is.
            raft.log.commit_to(min(message.commit, raft.log.last_index))
            raft.send(HeartbeatReply(sender=raft.id, to=message.sender, term=raft.term, round=message.round))
        case SnapshotPiece():
            _take_piece(raft, message)


def _append(raft: Raft, message: Append) -> None:
    log = raft.log
    reply = AppendReply(sender=raft.id, to=message.sender, term=raft.term, index=log.committed)
    if message.previous_index < log.committed:
        # A late request. What is committed is what the leader has, too.
        raft.answer(reply)
        return
    last = log.follow(message.previous_index, message.previous_term, message.entries)
    if last is None:
        index, term = log.agreement(message.previous_index, message.previous_term)
        raft.send(
            AppendReply(
                sender=raft.id,
                to=message.sender,
                term=raft.term,
                index=message.previous_index,
                rejected=True,
                hint_index=index,
                hint_term=term,
            )
        )
        return
    # Behind `last` may stand entries that this leader does not have: they are not committed by this.
    log.commit_to(min(message.commit, last))
    raft.incoming.forget_up_to(log.committed)
    raft.answer(AppendReply(sender=raft.id, to=message.sender, term=raft.term, index=last))


def _take_piece(raft: Raft, piece: SnapshotPiece) -> None:
    log, meta = raft.log, piece.meta
    if log.term(meta.index) == meta.term and meta.index > log.committed:
        log.commit_to(meta.index)  # all that it covers is here: what comes behind stays, too
    if meta.index <= log.committed:
        raft.incoming.forget_up_to(log.committed)
        raft.answer(AppendReply(sender=raft.id, to=piece.sender, term=raft.term, index=log.committed))
        return
    if piece.size > raft.config.max_snapshot_bytes:
        return
    snapshot = raft.incoming.add(piece)
    if snapshot is None:
        received = len(raft.incoming.data)
        raft.send(SnapshotReply(sender=raft.id, to=piece.sender, term=raft.term, index=meta.index, offset=received))
        return
    log.restore(snapshot)
    raft.answer(AppendReply(sender=raft.id, to=piece.sender, term=raft.term, index=meta.index))
