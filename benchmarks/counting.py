"""A proxy that counts HTTP requests, for a store that does not count them itself."""

from __future__ import annotations

from leasekit.cli.compare.counting import CountingDoor
from leasekit.cli.compare.wire import HttpReader


class CountingProxy(CountingDoor):
    """Forwards every connection to `target` ("host:port"), and counts what is asked."""

    def __init__(self, target: str) -> None:
        super().__init__(target, lambda: _Requests(self))
        self.blocking = 0
        """How many of the requests were blocking queries, that is watches."""


class _Requests(HttpReader):
    """Counts a connection's requests, and tells the proxy which of them were blocking queries."""

    def __init__(self, proxy: CountingProxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._queries = HttpReader(b"index=")

    def feed(self, data: bytes) -> int:
        self._proxy.blocking += self._queries.feed(data)
        return super().feed(data)
