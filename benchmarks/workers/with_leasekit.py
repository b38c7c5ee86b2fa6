"""leasekit through its blocking face. The first argument is a store URL."""

from __future__ import annotations

import os
import sys

import leasekit
from benchmarks.workers.protocol import serve

TTL_S = float(os.environ.get("BENCHMARK_TTL_S", "60"))


class Candidate:
    def __init__(self, election: str, store: leasekit.ConnectedStore) -> None:
        self._election = leasekit.Election(election, store, ttl_s=TTL_S)
        self._leadership: leasekit.Leadership | None = None

    def acquire(self) -> None:
        self._leadership = self._election.campaign()

    def release(self) -> None:
        assert self._leadership is not None
        self._leadership.resign()


if __name__ == "__main__":
    url, name = sys.argv[1:]
    with leasekit.connect(url) as store:
        serve(lambda election: Candidate(election, store), name)
