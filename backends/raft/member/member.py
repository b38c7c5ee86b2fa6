"""A member: its data directory, its port, its links to the others and its server, put together and taken apart."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from random import Random, SystemRandom
from types import TracebackType
from typing import Self

from leasekit.backends.raft import transport
from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.member import founding
from leasekit.backends.raft.member.config import MemberConfig, split_address
from leasekit.backends.raft.member.driver import Driver
from leasekit.backends.raft.member.files import clients_max
from leasekit.backends.raft.member.storage import Storage
from leasekit.backends.raft.requests import MemberStatus, Response, TransferLeadership
from leasekit.backends.raft.server import Server, ServerConfig
from leasekit.backends.raft.transport import Identity, Listener, PeerLinks
from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import ConfigError

_LOG = logging.getLogger("leasekit.raft")


class Member:
    """One member of a Raft cluster, on the running loop. A context manager, or `start` and `stop`; used once.

    The loop should be its own: whatever holds it up for long makes this member seem dead to the others.
    """

    def __init__(self, config: MemberConfig, *, version: str = "") -> None:
        self._config = config
        self._version = version
        self._driver: Driver | None = None
        self._storage: Storage | None = None
        self._listener: Listener | None = None
        self._links: PeerLinks | None = None
        self._ended: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Open the data directory and the port, and take part.

        A member that joins waits here until a member of the cluster answers.

        Raises:
            ConfigError: the directory is another member's, or was emptied; or the port cannot be had.
            Corrupt: the data is damaged. Remove this member, and add it anew with an empty directory and a new id.
            DiskFull, DiskFailed: the disk does not do what it should.
        """
        config = self._config
        tls = config.tls
        security = None if tls is None else transport.load(tls.ca, tls.cert, tls.key, peer_names=tls.peer_names)
        self._ended = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for it.
        self._ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        found = await founding.find(config, security.connecting if security is not None else None)
        identity = Identity(config.id, found.cluster)
        random = Random(SystemRandom().getrandbits(64))
        self._links = PeerLinks(identity, random=random, security=security, on_message=self._hear)
        try:
            self._driver = self._make_driver(found)
            self._storage = Storage(
                found.wal,
                found.disk,
                found.met,
                config.data_dir,
                persisted=self._driver.persisted,
                saved=self._driver.saved,
                was_met=self._driver.was_met,
                failed=self._driver.failed,
            )
        except BaseException:
            found.wal.close()
            found.disk.close()
            raise
        self._listener = Listener(identity, self._driver, security=security, max_clients=clients_max())
        self._listener.update(found.neighbours)
        self._driver.start(self._storage)
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise
        _LOG.info("%s of cluster %s listens on %s", config.id, found.cluster, self.address)

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Hand the leadership over if it is here, make durable what is under way, and close, within about `timeout_s`."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        if self._driver is not None and self._driver.running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s / 2, 2 * self._config.timing.election_ms / 1000)):
                    await self._hand_over(self._driver)
            self._driver.stop()
        if self._listener is not None:
            await self._listener.aclose()
        if self._links is not None:
            await self._links.aclose()
        if self._storage is not None:
            await self._storage.aclose(max(0.1, give_up_at - loop.time()))
            self._storage = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def ended(self) -> None:
        """Return after `stop`. Raises what ended this member before that, which is then to be stopped.

        Raises:
            DiskFull, DiskFailed: until it is stopped, clients are answered that it is unavailable.
        """
        assert self._ended is not None, "not started"
        await asyncio.shield(self._ended)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        assert self._listener is not None, "not started"
        host, _ = split_address(self._config.address)
        return f"[{host}]:{self._listener.port}" if ":" in host else f"{host}:{self._listener.port}"

    @property
    def failure(self) -> str | None:
        """Why it takes no part any more although it runs: its disk failed. Stop it, mend that, start it anew."""
        return None if self._driver is None or self._driver.disk_failure is None else str(self._driver.disk_failure)

    def status(self) -> MemberStatus:
        """How it sees itself."""
        assert self._driver is not None, "not started"
        return self._driver.status()

    def _make_driver(self, found: founding.Found) -> Driver:
        timing = self._config.timing
        random = Random(SystemRandom().getrandbits(64))
        server = Server(self._config.id, found.recovered, ServerConfig(core=timing.core), random, SYSTEM_CLOCK)
        return Driver(
            server,
            timing,
            found.met.members,
            send=self._send,
            know=self._know,
            about_process=self._about_process,
            ended=self._end,
        )

    async def _listen(self) -> None:
        assert self._listener is not None
        host, port = split_address(self._config.address)
        try:
            await self._listener.start(host, port)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigError("listen", f"{self._config.address} cannot be had: {why}") from error

    def _hear(self, message: Message) -> None:
        if self._driver is not None:
            self._driver.on_message(message)

    def _send(self, message: Message) -> None:
        assert self._links is not None
        if not self._links.send(message) and self._listener is not None:
            self._listener.send(message)

    def _know(self, membership: Membership) -> None:
        assert self._links is not None
        self._links.update(membership)
        # Until it has a log, one that joins believes those who told it of the cluster.
        if self._listener is not None and membership.voters:
            self._listener.update(membership)

    def _about_process(self, status: MemberStatus) -> MemberStatus:
        assert self._storage is not None
        usage = self._storage.usage
        return dataclasses.replace(
            status, log_bytes=usage.log_bytes, free_bytes=usage.free_bytes, version=self._version
        )

    def _end(self, error: BaseException) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_exception(error)

    async def _hand_over(self, driver: Driver) -> None:
        raft = driver.server.raft
        if raft.leading is not None and len(raft.membership.voters) > 1:
            driver.on_request(_Nobody(), TransferLeadership(id=0, to=None))
            await driver.wait_succeeded()


class _Nobody:
    """Asks without listening to the answer."""

    name = "this member"

    def send(self, response: Response) -> None:
        """What comes of it is seen by other means."""

    def hold(self, held: bool) -> None:
        """It asks once."""
