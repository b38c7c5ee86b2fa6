"""tooz's lock, over etcd3gw. It keeps its locks alive by a thread."""

from __future__ import annotations

import uuid
from typing import Any

from tooz import coordination  # type: ignore[import-not-found,unused-ignore]

from benchmarks.workers.protocol import arguments, serve


class Candidate:
    def __init__(self, election: str, coordinator: Any) -> None:
        self._lock = coordinator.get_lock(election.encode())

    def acquire(self) -> None:
        assert self._lock.acquire(blocking=True)

    def release(self) -> None:
        assert self._lock.release()


if __name__ == "__main__":
    host, port, name = arguments()
    coordinator = coordination.get_coordinator(f"etcd3+http://{host}:{port}", uuid.uuid4().hex.encode())
    coordinator.start(start_heart=True)
    serve(lambda election: Candidate(election, coordinator), name)
