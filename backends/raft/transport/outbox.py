"""What waits to be sent on one connection. Bounded: what a peer does not take costs no more memory than this."""

from __future__ import annotations

from collections import deque


class Outbox:
    """Frames in their order, up to `max_bytes`. Members' messages may be dropped: Raft sends again what still matters."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self.bytes = 0
        self.dropped = 0
        """How many frames `make_room` gave up."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether there is more than there may be."""
        return self.bytes > self._max_bytes

    def add(self, data: bytes, *, droppable: bool = False) -> None:
        """Put it at the end. `droppable`: it is the first to go if room is needed."""
        self._waiting.append((data, droppable))
        self.bytes += len(data)

    def make_room(self) -> None:
        """Drop frames until half of the room is free: the oldest first, and before all others those that are droppable."""
        for sparing in (True, False):
            kept: deque[tuple[bytes, bool]] = deque()
            for data, droppable in self._waiting:
                if self.bytes > self._max_bytes // 2 and (droppable or not sparing):
                    self.bytes -= len(data)
                    self.dropped += 1
                else:
                    kept.append((data, droppable))
            self._waiting = kept

    def take(self) -> bytes:
        """Everything, as one piece."""
        data = b"".join([data for data, _ in self._waiting])
        self._waiting.clear()
        self.bytes = 0
        return data
