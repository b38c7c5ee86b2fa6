"""What authors of stores and of programs on leasekit test with.

`leasekit.testing.conformance` (which needs pytest) checks a store against the whole contract.
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
