"""Guards that refuse a stale leader: *accept iff token >= the highest seen, remember it, atomically with the write*."""

from leasekit.errors import FencingRejected
from leasekit.fencing.sql import SqlFence

__all__ = ["FencingRejected", "SqlFence"]
