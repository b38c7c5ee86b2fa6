"""One connection to one member: requests and their answers by number, and what its watches are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from leasekit.backends.raft.requests import AskStatus, Done, MemberStatus, Request, Response, Unwatch, Watch
from leasekit.backends.raft.transport.outgoing import Outgoing
from leasekit.backends.raft.wire import CODEC, Codec, Hello, Purpose
from leasekit.errors import ProtocolError

_OUTBOX_BYTES = 64 * 1024 * 1024
"""What may wait for a member that does not read; beyond it the connection is given up."""

_SILENCE_S = 0.5
"""A member that owes an answer and says nothing for so long is asked whether it is still there."""
_QUIET_S = 2.0
"""The same if it owes none, and has watches to tell: they may well have nothing to say."""
_PATIENCE_S = 0.7
"""So long it may take to say yes. A live member does so at once, even one without a majority or with a slow disk."""


class Lost(Exception):
    """The connection broke before the answer came: the request may have been carried out."""


class Channel(Outgoing):
    """A client's connection to a member. It ends when the member does not answer any more."""

    def __init__(self, address: str, cluster: str, codec: Codec = CODEC) -> None:
        hello = Hello(oldest=codec.oldest, newest=codec.newest, cluster=cluster, purpose=Purpose.CLIENT)
        super().__init__(hello, codec, _OUTBOX_BYTES)
        self.address = address
        self.on_end: Callable[[], None] = lambda: None
        """Called when nothing more will be told to watches on it."""
        self._ids = 0
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._watching: dict[int, Callable[[Response], None]] = {}
        self._retired = False
        self._heard_s = 0.0
        self._asked_s: float | None = None
        """When it was asked whether it is still there, if nothing was heard since."""
        self._check_later: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be asked."""
        return self.open and self.welcomed.done() and not self.closing and not self._retired

    async def ask(self, make: Callable[[int], Request]) -> Response:
        """Send the request that `make` gives this number, and wait for its answer. Raises Lost."""
        if not self.usable:
            raise Lost(f"{self.address} hung up")
        self._ids += 1
        number = self._ids
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.send_body(self.codec.encode_request(make(number), self.version))
        self._expect()
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)
            self._leave_if_retired()

    async def status(self) -> MemberStatus:
        """What the member says of itself. Raises Lost, ProtocolError."""
        answer = await self.ask(lambda number: AskStatus(id=number))
        if not isinstance(answer, Done) or not isinstance(answer.result, MemberStatus):
            raise ProtocolError(f"{self.address} was asked for its status and said {type(answer).__name__}")
        return answer.result

    def watch(self, key: str, *, prefix: bool, after: int, tell: Callable[[Response], None]) -> int:
        """Watch; `tell` gets all that is said of it. Returns its number, for `unwatch`."""
        self._ids += 1
        self._watching[self._ids] = tell
        request = Watch(id=self._ids, key=key, prefix=prefix, after=after)
        self.send_body(self.codec.encode_request(request, self.version))
        self._expect()
        return self._ids

    def unwatch(self, number: int) -> None:
        """Be told no more."""
        if self._watching.pop(number, None) is not None and self.usable:
            self._ids += 1
            self.send_body(self.codec.encode_request(Unwatch(id=self._ids, watch=number), self.version))

    def retire(self) -> None:
        """Close it once all that was asked on it is answered. Watches end now."""
        self._retired = True
        self._stop_watching()
        self._leave_if_retired()

    def on_frame(self, body: bytes) -> None:
        response = self.codec.decode_response(body)
        self._heard_s = asyncio.get_running_loop().time()
        self._asked_s = None
        if (tell := self._watching.get(response.id)) is not None:
            tell(response)
        elif (answer := self._waiting.get(response.id)) is not None and not answer.done():
            answer.set_result(response)

    def on_broken(self, error: ProtocolError) -> None:
        super().on_broken(error)
        self._end(Lost(f"{self.address} does not speak this protocol ({error})"))

    def on_lost(self, error: Exception | None) -> None:
        super().on_lost(error)
        self._end(Lost(f"{self.address} hung up"))

    def _end(self, error: Lost) -> None:
        if self._check_later is not None:
            self._check_later.cancel()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        self._stop_watching()

    def _stop_watching(self) -> None:
        self._watching.clear()
        on_end, self.on_end = self.on_end, lambda: None
        on_end()

    def _leave_if_retired(self) -> None:
        if self._retired and not self._waiting:
            self.abort()

    # A frozen or cut-off member leaves the connection as it is: only asking shows it.

    def _expect(self) -> None:
        """From now on it owes something."""
        if self._check_later is None:
            loop = asyncio.get_running_loop()
            self._heard_s, self._asked_s = loop.time(), None
            self._check_later = loop.call_later(_SILENCE_S, self._check)

    def _check(self) -> None:
        self._check_later = None
        if not self._waiting and not self._watching:
            return
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._asked_s is not None:
            self.abort()
            self._end(Lost(f"{self.address} does not answer"))
            return
        wait_s = self._heard_s + (_SILENCE_S if self._waiting else _QUIET_S) - now_s
        if wait_s <= 0:
            # Its answer has a number that nobody waits for: to have heard it is all that matters.
            self._ids += 1
            self.send_body(self.codec.encode_request(AskStatus(id=self._ids), self.version))
            self._asked_s = now_s
            wait_s = _PATIENCE_S
        self._check_later = loop.call_later(wait_s, self._check)
