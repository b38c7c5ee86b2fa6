"""A data directory at a member's start: found again, or begun, with whom and in which cluster."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from leasekit.backends.raft.core.types import Membership, Recovered, Snapshot, SnapshotMeta, Write
from leasekit.backends.raft.member.asking import ask_status
from leasekit.backends.raft.member.config import MemberConfig
from leasekit.backends.raft.member.met import Met
from leasekit.backends.raft.requests import MemberStatus
from leasekit.backends.raft.transport.complaints import Complaints
from leasekit.backends.raft.wal import identity
from leasekit.backends.raft.wal.disk import RealDisk
from leasekit.backends.raft.wal.log import Wal
from leasekit.errors import ConfigError, ProtocolError, StoreUnavailable

_LOG = logging.getLogger("leasekit.raft")

T = TypeVar("T")

_ASK_S = 1.0
_ASK_TIMES = 3
"""Who does not answer may be busy, and be the one who knows that this member was here before."""
_ASK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """An open directory, and what is in it."""

    disk: RealDisk
    wal: Wal
    met: Met
    recovered: Recovered
    cluster: str
    neighbours: Membership
    """Who the members are as far as this one knows, also if its own log does not say so yet."""


async def find(config: MemberConfig, tls: ssl.SSLContext | None) -> Found:
    """Open the member's directory; begin it if it is empty. Waits for a running cluster if it is to join one.

    Raises:
        ConfigError: it is another member's, or this member was wiped, or it is not said how to begin.
        Corrupt, DiskFull, DiskFailed: see there.
    """
    disk = await _in_thread(lambda: RealDisk(config.data_dir), undo=RealDisk.close)
    try:
        return await _find(config, disk, tls)
    except BaseException:
        disk.close()
        raise


async def _find(config: MemberConfig, disk: RealDisk, tls: ssl.SSLContext | None) -> Found:
    known = identity.read(disk)
    if known is not None and known.member != config.id:
        raise ConfigError("data_dir", f"{config.data_dir} belongs to member {known.member!r}, not to {config.id!r}")
    if known is not None:
        wal, recovered = await _in_thread(lambda: Wal.open(disk), undo=lambda opened: opened[0].close())
        if recovered != Recovered():
            if config.initial and config.cluster_id != known.cluster:
                _LOG.warning(
                    "%s was begun in cluster %s, and goes on in it: --initial and --cluster say something else",
                    *(config.data_dir, known.cluster),
                )
            return Found(disk, wal, Met(disk), recovered, known.cluster, recovered.snapshot.meta.membership)
        # Its first start was cut off, or it waits to be added: as if it were empty.
        wal.close()
    cluster, neighbours = await _introduce(config, tls)
    return await _in_thread(lambda: _begin(config, disk, cluster, neighbours), undo=lambda found: found.wal.close())


async def _in_thread(work: Callable[[], T], *, undo: Callable[[T], None]) -> T:
    """Do `work` beside the loop. Cancelled, it is still seen to its end, and undone: nothing touches a disk let go of."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        if working.exception() is None:
            undo(working.result())
        raise


def _begin(config: MemberConfig, disk: RealDisk, cluster: str, membership: Membership) -> Found:
    """Make durable whose directory it is, and the first membership as the state before all entries."""
    identity.claim(disk, identity.Identity(cluster, config.id))
    wal, recovered = Wal.open(disk)
    if config.initial:
        recovered = Recovered(snapshot=Snapshot(SnapshotMeta(0, 0, membership)))
        wal.write(Write(number=0, snapshot=recovered.snapshot))
    return Found(disk, wal, Met(disk), recovered, cluster, membership)


async def _introduce(config: MemberConfig, tls: ssl.SSLContext | None) -> tuple[str, Membership]:
    """Ask the others. The cluster's id, and its members as far as known."""
    if config.initial:
        others = [address for member, address in config.initial.items() if member != config.id]
        answers, _ = await _ask(others, tls)
        for status, _ in answers:
            _refuse_wiped(config, status)
        return config.cluster_id, Membership(voters=dict(config.initial))
    if not config.join:
        raise ConfigError(
            "data_dir",
            f"{config.data_dir} is empty: name the initial members of a new cluster, or addresses of one to join",
        )
    complaints = Complaints()
    while True:
        answers, troubles = await _ask(config.join, tls)
        if answers:
            break
        for text in troubles:
            complaints.complain(config.id, text, f"waits for a member of the cluster to answer: {text}")
        await asyncio.sleep(_ASK_AGAIN_S)
    for status, _ in answers:
        _refuse_wiped(config, status)
    if len({cluster for _, cluster in answers}) > 1:
        told = ", ".join(f"{status.raft.id!r} is of {cluster!r}" for status, cluster in answers)
        raise ConfigError("join", f"names members of different clusters: {told}")
    latest, cluster = max(answers, key=lambda answer: (answer[0].raft.term, answer[0].raft.commit))
    return cluster, latest.raft.membership


async def _ask(
    addresses: Sequence[str], tls: ssl.SSLContext | None
) -> tuple[list[tuple[MemberStatus, str]], list[str]]:
    """As `_statuses`, again if somebody does not answer. Who does not even listen costs no time."""
    for _ in range(_ASK_TIMES):
        answers, troubles = await _statuses(addresses, tls)
        if not troubles:
            break
    return answers, troubles


async def _statuses(
    addresses: Iterable[str], tls: ssl.SSLContext | None
) -> tuple[list[tuple[MemberStatus, str]], list[str]]:
    """What those say who answer; and what is wrong with the others."""
    asked = [ask_status(address, tls, timeout_s=_ASK_S) for address in addresses]
    answers: list[tuple[MemberStatus, str]] = []
    troubles: list[str] = []
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, StoreUnavailable | ProtocolError):
            troubles.append(str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            answers.append(answer)
    return answers, troubles


def _refuse_wiped(config: MemberConfig, status: MemberStatus) -> None:
    if config.id not in status.met:
        return
    address = status.raft.membership.address(config.id) or config.address
    raise ConfigError(
        "data_dir",
        f"{config.data_dir} is empty, but {status.raft.id!r} has met {config.id!r} before: it may have voted, and "
        f"acknowledged entries, which it does not know any more. It must come back as a new member:\n"
        f"  leasekit --store raft://... raft remove {config.id}\n"
        f"  leasekit --store raft://... raft add NEW_ID {address}\n"
        f"  leasekit raft serve --id NEW_ID --listen {config.address} --join ... --data {config.data_dir}",
    )
