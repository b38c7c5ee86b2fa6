"""What a process tells about its elections: metrics, traces, health endpoints, logs.

    from leasekit.observability import prometheus
    prometheus.install()

`prometheus` and `opentelemetry` need the extra of that name; `health` is an ASGI app; logs come through stdlib logging.
All of them stand on `subscribe`, which tells a listener what happens (`events`), and on `live`, which says how things
stand when asked. docs/observability.md has the tables.
"""

from __future__ import annotations

from leasekit.observability.events import Elected, Ended, Event, Outcome, Refused, Renewal, StoreBack, StoreFailing
from leasekit.observability.hub import subscribe

__all__ = [
    "Elected",
    "Ended",
    "Event",
    "Outcome",
    "Refused",
    "Renewal",
    "StoreBack",
    "StoreFailing",
    "subscribe",
]
