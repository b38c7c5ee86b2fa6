"""The Consul store: `consul://host:8500/prefix`, over sessions and `/v1/txn`. Needs the extra `consul`."""

from __future__ import annotations

import os

from leasekit.backends.consul import settings
from leasekit.errors import ConfigError
from leasekit.store import Store
from leasekit.urls import StoreURL

__all__ = ["open_store"]


def open_store(url: StoreURL) -> Store:
    """A store in Consul, at the agents that `url` or CONSUL_HTTP_ADDR names. No I/O. Raises ConfigError."""
    try:
        # Here, so that who uses another store needs neither aiohttp nor py-consul.
        from leasekit.backends.consul.store import ConsulStore
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("aiohttp", "consul", "yarl"):
            raise
        raise ConfigError("store URL", "consul:// needs another package: pip install 'leasekit[consul]'") from None
    return ConsulStore(settings.read(url, os.environ))
