"""python-etcd3's lock."""

from __future__ import annotations

from typing import Any

import etcd3  # type: ignore[import-not-found,unused-ignore]

from benchmarks.workers.protocol import arguments, serve


class Candidate:
    def __init__(self, election: str, client: Any) -> None:
        self._lock = client.lock(election, ttl=60)

    def acquire(self) -> None:
        # Without end: with a time-out it enters without the lock when time is up.
        assert self._lock.acquire(timeout=None)

    def release(self) -> None:
        assert self._lock.release()


if __name__ == "__main__":
    host, port, name = arguments()
    client = etcd3.client(host=host, port=port)
    serve(lambda election: Candidate(election, client), name)
