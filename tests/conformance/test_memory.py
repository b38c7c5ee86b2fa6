"""The memory store against the contract."""

from __future__ import annotations

from leasekit.backends.memory import MemoryStore
from leasekit.store import Store
from support.patient import PatientConformance


class TestMemory(PatientConformance):
    async def open(self, prefix: str) -> Store:
        return MemoryStore("conformance", prefix=prefix)

    async def compact(self, store: Store, revision: int) -> None:
        assert isinstance(store, MemoryStore)
        store.compact(revision)
