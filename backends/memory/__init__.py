"""The in-memory store: `memory://name`, shared in the process, and `memory://`, private to the handle."""

from leasekit.backends.memory.state import MemoryState
from leasekit.backends.memory.store import MemoryStore, open_store

__all__ = ["MemoryState", "MemoryStore", "open_store"]
