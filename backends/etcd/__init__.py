"""The etcd backend: `etcd://` and `etcd+tls://`. Needs the extra `leasekit[etcd]`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from leasekit import greenlets
from leasekit.backends.etcd import forks
from leasekit.errors import ConfigError

if TYPE_CHECKING:
    from leasekit.store import Store
    from leasekit.urls import StoreURL


def open_store(url: StoreURL) -> Store:
    """Open the store at `url`, without I/O but for the TLS files that it names.

    Raises:
        ConfigError: the URL, a file or a credential is at fault, the extra is missing, this process was forked from one
            that was connected to etcd, or its threads are greenlets.
    """
    if greenlets.threads_are_greenlets():
        raise ConfigError(
            "store URL",
            "threads are greenlets here, by monkey patching, and gRPC, which asks etcd, hangs with them: "
            "take another store, or workers that are processes or threads",
        )
    try:
        # Late, so that neither `import leasekit` nor another store pays for gRPC.
        forks.import_grpc()
        from leasekit.backends.etcd.store import EtcdStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("grpc", "google"):
            raise
        raise ConfigError("store URL", f"etcd needs {error.name}: pip install 'leasekit[etcd]'") from None
    return EtcdStore(url, random=Random())
