"""The SQLite store against the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest

from leasekit.backends.sqlite import SqliteStore
from leasekit.store import Store
from support.patient import PatientConformance


class TestSqlite(PatientConformance):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "leases.db"

    async def open(self, prefix: str) -> Store:
        return SqliteStore(self.path, prefix=prefix)

    async def compact(self, store: Store, revision: int) -> None:
        assert isinstance(store, SqliteStore)
        await store.compact(revision, timeout_s=self.timeout_s)

    def silenced(self) -> AbstractAsyncContextManager[None]:
        return self._locked()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Another process hangs in the middle of a transaction."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
