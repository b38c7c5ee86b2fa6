"""A connection whose network misbehaves on order, under the faces: on the real engine, in real time."""

from __future__ import annotations

from typing import Any

import leasekit
from leasekit import engine
from leasekit.connection import Connection
from leasekit.testing import FaultyStore


class Faulty:
    """A memory store's connection. `order` tells its network what to do, on the thread where the network is."""

    def __init__(self, url: str, **connection: Any) -> None:
        self._connection = Connection(url, **connection)
        self.network = FaultyStore(self._connection.store)
        self._connection._store = self.network
        self.store = leasekit.ConnectedStore(self._connection)

    def order(self, method: str, **arguments: Any) -> None:
        """For example `order("go_down", silent=True)`."""

        async def do() -> None:
            getattr(self.network, method)(**arguments)

        engine.get().run(do())
