"""What an error of SQLite's means to whoever asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from leasekit.errors import ConfigError, LeasekitError, OutcomeUnknown, ProtocolError, StoreUnavailable


class Busy(Exception):
    """Another process is writing; nothing was done. Try again."""


def failure_of(error: sqlite3.Error, path: Path, *, committing: bool = False) -> Exception:
    """The error to raise for `error`; `Busy` where trying again may help.

    `committing`: it was the commit that failed. Then only a full disk is a definite answer, since the commit's last
    page is what could not be written; after a failing sync the commit may yet be found in the log.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(str(error))
    says = f"{path}: {error}"
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"{path}: the disk is full")
    if committing:
        return OutcomeUnknown(says)
    return _kind_of(code, says, path)


def _kind_of(code: int, says: str, path: Path) -> LeasekitError:
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError("store URL", f"{path} is not a database: choose another file")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return ConfigError("store URL", f"{says}: leasekit must be able to write the file and its folder")
    if code == sqlite3.SQLITE_CORRUPT:
        return ProtocolError(f"{says}. Stop every process that uses it, then remove the file")
    if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE):
        return ProtocolError(says)
    return StoreUnavailable(says)
