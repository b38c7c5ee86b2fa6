"""The native Raft store: `raft://` and `raft+tls://`. A replicated key-value state machine with leases, for users without
an external store. Needs the extra `leasekit[raft]`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from leasekit.errors import ConfigError

if TYPE_CHECKING:
    from leasekit.store import Store
    from leasekit.urls import StoreURL


def open_store(url: StoreURL) -> Store:
    """Open the store at `url`, without I/O but for the TLS files that it names.

    Raises:
        ConfigError: the URL or a file is at fault, or the extra is missing.
    """
    try:
        # Late, so that who uses another store does not need msgpack.
        from leasekit.backends.raft.client import settings
        from leasekit.backends.raft.client.store import RaftStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "msgpack":
            raise
        raise ConfigError("store URL", "raft:// needs another package: pip install 'leasekit[raft]'") from None
    return RaftStore(settings.read(url), random=Random())
