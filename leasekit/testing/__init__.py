"""What authors of stores and guards test with: a clock and a loop on virtual time, and a store that fails on order.

`leasekit.testing.conformance` (which needs pytest) checks a store or a guard against its whole contract;
docs/writing-a-backend.md shows how. For tests of a program on leasekit: `leasekit.integrations.pytest`.
"""

from leasekit.testing.clock import ManualClock
from leasekit.testing.faults import Fault, Plan, Request, random_faults
from leasekit.testing.faulty_store import FaultyStore
from leasekit.testing.virtual_loop import DeadlockError, VirtualLoop, VirtualTimeExceeded, run_virtual

__all__ = [
    "DeadlockError",
    "Fault",
    "FaultyStore",
    "ManualClock",
    "Plan",
    "Request",
    "VirtualLoop",
    "VirtualTimeExceeded",
    "random_faults",
    "run_virtual",
]
