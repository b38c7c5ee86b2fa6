"""A client's connection to a member: a stream both ways, which loses nothing as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from leasekit.backends.raft.requests import Request, Response
from leasekit.backends.raft.simulator.network import Network
from leasekit.backends.raft.simulator.schedule import Schedule
from leasekit.backends.raft.wire import decode_response, encode_request, encode_response


class Host(Protocol):
    """The member at the other end."""

    name: str

    def asked(self, connection: Connection, body: bytes) -> None:
        """A request has come."""

    def hung_up(self, connection: Connection) -> None:
        """The client has closed its end."""


class Connection:
    """One of many; `number` is unique within a run."""

    def __init__(
        self,
        number: int,
        client: str,
        host: Host,
        schedule: Schedule,
        network: Network,
        heard: Callable[[Response], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.number = number
        self.open = True
        self._client = client
        self._host = host
        self._schedule = schedule
        self._network = network
        self._heard = heard
        self._lost = lost
        self._last_there_s = 0.0
        self._last_back_s = 0.0

    def send(self, request: Request) -> None:
        """From the client to the member."""
        body = encode_request(request)
        if (time_s := self._network.arrival_s(self._client, self._host.name)) is not None:
            self._last_there_s = max(time_s, self._last_there_s)
            self._schedule.at(self._last_there_s, lambda: self._host.asked(self, body))

    def reply(self, response: Response) -> None:
        """From the member to the client. A stream that is cut in between never carries anything again."""
        body = encode_response(response)
        if (time_s := self._network.arrival_s(self._host.name, self._client)) is None:
            self.break_off()
            return
        self._last_back_s = max(time_s, self._last_back_s)
        self._schedule.at(self._last_back_s, lambda: self._deliver(body))

    def _deliver(self, body: bytes) -> None:
        if self.open:
            self._heard(decode_response(body))

    def close(self) -> None:
        """By the client; the member hears of it as soon as the network lets it."""
        if self.open:
            self.open = False
            time_s = self._network.arrival_s(self._client, self._host.name)
            self._schedule.at(self._schedule.now_s + 5 if time_s is None else time_s, lambda: self._host.hung_up(self))

    def break_off(self) -> None:
        """By the member's end, which crashed or sees no way through; the client hears of it later."""
        if self.open:
            self.open = False
            self._schedule.after(0.05, lambda: self._lost(self))
