"""The SQLite store: `sqlite:////absolute/path`, `sqlite:///relative`, or `sqlite://` for this user's own file."""

from pathlib import Path

from leasekit.backends.sqlite.location import default_path
from leasekit.backends.sqlite.store import SqliteStore
from leasekit.errors import ConfigError
from leasekit.urls import DEFAULT_PREFIX, StoreURL

__all__ = ["SqliteStore", "default_path", "open_store"]


def open_store(url: StoreURL) -> SqliteStore:
    """A handle on the file that `url` names; nothing is opened yet. Keys are under `?prefix=`, else `leasekit`."""
    url.require_known_options("prefix")
    if url.endpoints:
        raise ConfigError(
            "store URL", f"sqlite://{url.endpoints[0]} names a host: write sqlite:///file or sqlite:////path/file"
        )
    named = url.path.removeprefix("/")
    if named == ":memory:":
        raise ConfigError("store URL", "SQLite in memory is shared with nobody: write memory://name")
    path = Path(named) if named else default_path()
    prefix = (url.option("prefix") or "").strip("/") or DEFAULT_PREFIX
    return SqliteStore(path, prefix=prefix)
