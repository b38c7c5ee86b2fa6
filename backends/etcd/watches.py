"""Watches: all of a store's on one stream, each resumed where it was when the stream breaks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from leasekit.backends.etcd import forks, wire
from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.backoff import Backoff
from leasekit.backends.etcd.client import Client
from leasekit.backends.etcd.faults import Failure, Fault
from leasekit.backends.etcd.watch_session import Session
from leasekit.errors import LeasekitError, ProtocolError
from leasekit.store import Changed
from leasekit.untaken import Untaken

_WORTH_ANOTHER_STREAM = (Fault.LOST, Fault.REFUSED, Fault.TOKEN)

_STEADY_S = 1.0
"""A stream that lasted so long is no sign of a server that drops every client."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Which life of the store an answer is from. A restored one has another cluster id, or a lower Raft term."""

    cluster_id: int
    raft_term: int

    @classmethod
    def of(cls, header: rpc.ResponseHeader) -> Epoch:
        return cls(header.cluster_id, header.raft_term)

    def may_precede(self, later: Epoch) -> bool:
        """Whether `later` can be the same life of the same store, later on."""
        return self.cluster_id == later.cluster_id and self.raft_term <= later.raft_term


class Subscription(Untaken):
    """One watch: what its consumer has not yet taken, and from where to go on."""

    def __init__(self, key: bytes, end: bytes, after: int) -> None:
        super().__init__()
        self.key = key
        self.end = end
        self.after = after
        """All changes up to this revision are in here or were taken."""
        self.epoch: Epoch | None = None
        self.refused = 0
        """How often etcd refused it in turn; it is tried with a new token then."""

    def request(self, watch_id: int) -> rpc.WatchRequest:
        """Ask for this watch, from where it is."""
        return rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=self.key,
                range_end=self.end,
                start_revision=self.after + 1,
                progress_notify=True,
                watch_id=watch_id,
            )
        )

    def doubts(self, header: rpc.ResponseHeader) -> bool:
        """Whether an answer with this header may be another store's, or from before what is known here.

        It may also be one of a server that lags behind: a linearizable read tells.
        """
        return header.revision < self.after or not self._same_life(header)

    def recognises(self, header: rpc.ResponseHeader) -> bool:
        """Whether a linearizable read with this header was of the store that was watched; from now on it is."""
        same = self._same_life(header)
        self.epoch = Epoch.of(header)
        return same

    def tell(self, change: Changed) -> None:
        """`change` happened."""
        self.put(change)
        self.after = max(self.after, change.revision)

    def progress(self, revision: int) -> None:
        """Nothing more has happened up to `revision`."""
        self.after = max(self.after, revision)

    def resync(self, revision: int) -> None:
        """What happened before `revision` is not known: the consumer must look. Changes from there on are told."""
        self.look_again(revision)
        self.after = revision - 1

    def _same_life(self, header: rpc.ResponseHeader) -> bool:
        epoch = Epoch.of(header)
        same = self.epoch is None or self.epoch.may_precede(epoch)
        if same:
            self.epoch = epoch
        return same


class Watches:
    """The hub: keeps one stream open as long as anybody watches."""

    def __init__(self, client: Client, keys: wire.Keys) -> None:
        self._client = client
        self._keys = keys
        self._subscriptions: dict[Subscription, None] = {}
        self._session: Session | None = None
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def subscribe(self, key: str, *, prefix: bool, after: int) -> Subscription:
        """Watch from now on; `unsubscribe` ends it."""
        forks.refuse_inherited()
        start, end = self._keys.span(key) if prefix else (self._keys.encode(key), b"")
        subscription = Subscription(start, end, after)
        if self._client.endpoints.closed:
            subscription.close()
            return subscription
        self._subscriptions[subscription] = None
        self._wanted.set()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
            self._running.add_done_callback(self._ended)
        elif self._session is not None:
            self._session.create(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget it, here and on the server."""
        self._subscriptions.pop(subscription, None)
        if not self._subscriptions:
            self._wanted.clear()
        if self._session is not None:
            self._session.cancel(subscription)

    async def aclose(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """One stream after the other. What no other stream can mend ends the watches with it."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._client.random)
        while True:
            await self._wanted.wait()
            server = await self._client.endpoints.pick(None)
            self._session = Session(self._client, server, self._keys, self._subscriptions)
            opened_s = loop.time()
            failure = await self._until_broken(self._session)
            self._session = None
            if loop.time() - opened_s > _STEADY_S:
                backoff.reset()
            if failure.fault in _WORTH_ANOTHER_STREAM:
                if failure.fault is not Fault.TOKEN:
                    self._client.endpoints.shun(server)
                await asyncio.sleep(backoff.next_s())
            else:
                self._fail_all(failure.error(changes=False))

    @staticmethod
    async def _until_broken(session: Session) -> Failure:
        failure: Failure | None = None
        try:
            await session.run()
        except* Failure as group:
            failure = next(each for each in group.exceptions if isinstance(each, Failure))
        assert failure is not None
        return failure

    def _fail_all(self, error: LeasekitError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)
        self._subscriptions.clear()
        self._wanted.clear()

    def _ended(self, running: asyncio.Task[None]) -> None:
        # Closing cancels it. Anything else is a fault of ours, which no consumer must wait through in silence.
        if not running.cancelled() and (error := running.exception()) is not None:
            self._running = None
            self._session = None
            kind = error if isinstance(error, LeasekitError) else ProtocolError(f"the watch stream failed: {error!r}")
            self._fail_all(kind)
