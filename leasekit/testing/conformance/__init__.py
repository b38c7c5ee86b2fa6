"""The conformance suites: pytest classes that the author of a store (docs/writing-a-backend.md), or of a fencing guard
(docs/fencing.md), subclasses.

    class TestMyStore(StoreConformance):
        async def open(self, prefix: str) -> Store:
            return MyStore(..., prefix=prefix)

Tests are plain coroutines: run them with pytest-asyncio in auto mode, or with anyio's plugin.
"""

import pytest

# Before the modules are imported: their assertions then show the values that they compared.
pytest.register_assert_rewrite(
    "leasekit.testing.conformance.base",
    "leasekit.testing.conformance.connections",
    "leasekit.testing.conformance.faults",
    "leasekit.testing.conformance.guards",
    "leasekit.testing.conformance.leases",
    "leasekit.testing.conformance.races",
    "leasekit.testing.conformance.transactions",
    "leasekit.testing.conformance.watches",
    "leasekit.testing.model",
)

from leasekit.testing.conformance.connections import ConnectionTests
from leasekit.testing.conformance.faults import FaultTests
from leasekit.testing.conformance.guards import GuardConformance
from leasekit.testing.conformance.leases import LeaseTests
from leasekit.testing.conformance.races import RaceTests
from leasekit.testing.conformance.transactions import TransactionTests
from leasekit.testing.conformance.watches import WatchTests

__all__ = ["GuardConformance", "StoreConformance"]


class StoreConformance(TransactionTests, RaceTests, LeaseTests, WatchTests, ConnectionTests, FaultTests):
    """The whole contract of `leasekit.store`. Subclass it, name the subclass `Test...`, and define `open`.

    Each test has a prefix of its own, so the tests may share one server. The hooks `restart`, `compact` and
    `silenced` are worth defining too: the tests that need them are skipped otherwise.
    """
