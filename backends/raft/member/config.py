"""What a member is told: who it is, where its data and its port are, whom it starts with, and how fast time passes."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leasekit import urls
from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.types import MemberId
from leasekit.errors import ConfigError

DEFAULT_PORT = 7001
MAX_ID = 64
_ID_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")

_TICKS_A_HEARTBEAT = 5
_TICK_MS_MIN = 5
_HEARTBEATS_AN_ELECTION = 4
"""Fewer, and a lost heartbeat or a short stall is an election."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The same on all members, preferably. The leader speaks up every `heartbeat_ms`; who hears nothing for
    `election_ms`, and up to as long again at random, campaigns.

    Raises:
        ConfigError: an election time-out below four heartbeats, or a heartbeat of no time.
    """

    heartbeat_ms: int = 100
    election_ms: int = 1000

    def __post_init__(self) -> None:
        if self.heartbeat_ms < 1:
            raise ConfigError("heartbeat_ms", "must be 1 at least")
        if self.election_ms < _HEARTBEATS_AN_ELECTION * self.heartbeat_ms:
            raise ConfigError(
                "election_ms",
                f"must be {_HEARTBEATS_AN_ELECTION} heartbeats at least, "
                f"{_HEARTBEATS_AN_ELECTION * self.heartbeat_ms} ms here: else a lost heartbeat is an election",
            )

    @property
    def tick_s(self) -> float:
        """How often the member looks at the time."""
        return self._tick_ms / 1000

    @property
    def core(self) -> Config:
        """The same in ticks."""
        return Config(
            heartbeat_ticks=round(self.heartbeat_ms / self._tick_ms),
            election_ticks=round(self.election_ms / self._tick_ms),
        )

    @property
    def _tick_ms(self) -> float:
        return min(self.heartbeat_ms, max(_TICK_MS_MIN, self.heartbeat_ms / _TICKS_A_HEARTBEAT))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the authority, and this member's certificate and key, good for both ends of a connection.

    `peer_names`: if given, whoever shows a certificate of one of these names is believed to be a member.
    """

    ca: str
    cert: str
    key: str
    peer_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberConfig:
    """How a member is started.

    The first start of a data directory needs `initial`, the members that the cluster begins with, this one among
    them, the same for all; or `join`, addresses of a running cluster, which this member is then added to. Later
    starts find who the members are in the data, and look at neither.

    Args:
        listen: `host:port`; by default this member's address in `initial`.
        cluster: a name that keeps clusters apart which begin with the same members.
        insecure: listen on addresses other than this machine's own without TLS.

    Raises:
        ConfigError: these do not go together; the message says how to mend it.
    """

    id: MemberId
    data_dir: Path
    listen: str = ""
    initial: Mapping[MemberId, str] = field(default_factory=dict)
    join: Sequence[str] = ()
    cluster: str = "leasekit"
    tls: TlsFiles | None = None
    insecure: bool = False
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        check_id(self.id)
        for member, address in self.initial.items():
            check_id(member)
            split_address(address)
        for address in self.join:
            split_address(address)
        if self.initial and self.join:
            raise ConfigError("join", "goes without the initial members: a cluster is begun once, and joined later")
        if self.initial and self.id not in self.initial:
            raise ConfigError("initial", f"does not name this member, {self.id!r}")
        host, _ = split_address(self.address)
        if self.tls is None and not self.insecure and not _is_loopback(host):
            raise ConfigError(
                "listen",
                f"{host} can be reached from other machines, and without TLS whoever reaches it may read and change "
                f"everything: give a CA, a certificate and a key, or say that it is meant to be insecure",
            )

    @property
    def address(self) -> str:
        """Where to listen, as `host:port`. Raises ConfigError if nothing says it."""
        address = self.listen or self.initial.get(self.id)
        if not address:
            raise ConfigError("listen", "is needed where the initial members do not say this member's address")
        return address

    @property
    def cluster_id(self) -> str:
        """What a cluster that begins so is known by: the same on each of its first members."""
        text = "\n".join([self.cluster, *(f"{member}={self.initial[member]}" for member in sorted(self.initial))])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_id(member: MemberId) -> None:
    """Raise ConfigError unless `member` may be a member's id."""
    if not member or len(member) > MAX_ID or not set(member) <= _ID_ALPHABET:
        raise ConfigError("id", f"{member!r} will not do: 1 to {MAX_ID} letters, digits, '-', '_' and '.'")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ConfigError."""
    # As in a store's URL, so that both read the same.
    endpoints = urls.parse(f"raft://{address}").endpoints
    if len(endpoints) != 1 or str(endpoints[0].address(DEFAULT_PORT)) != address:
        raise ConfigError("address", f"{address!r} is not host:port")
    return endpoints[0].host, endpoints[0].port or DEFAULT_PORT


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
