"""Moving the present: a tick later, every instant in a state is a tick further back.

States that differ only in when they happened become one. What has passed is passed: a deadline that was reached
stays at 0; a `..._since` keeps counting for as long as anything looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from leasekit.clock import Instant
from leasekit.core.contest import Contest

NOW = Instant(0.0, 0.0)
TICK_S = 5.0
OLDEST_S = -8 * TICK_S
"""Beyond this nothing distinguishes one `..._since` from another: the longest patience is 2 x ttl + 1 s."""

T = TypeVar("T")


def aged(value: T) -> T:
    """The same state machine state, seen one tick later."""
    return _aged(value, 0.0)  # type: ignore[no-any-return]


def _aged(value: Any, floor_s: float) -> Any:
    if isinstance(value, Instant):
        later = max(floor_s, round(value.boot_s - TICK_S, 6))
        return value if later == value.boot_s else Instant(later, later)
    if isinstance(value, Contest):
        changes = _changes(value, value._fields)
        return value._replace(**changes) if changes else value
    if isinstance(value, tuple):
        return tuple(_aged(item, floor_s) for item in value)
    if not is_dataclass(value):
        return value
    changes = _changes(value, (field.name for field in fields(value)))
    return replace(value, **changes) if changes and not isinstance(value, type) else value


def _changes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """The fields of `value` that time changes."""
    changes = {}
    for name in names:
        old = getattr(value, name)
        if old.__class__ in (int, str, float, bool, bytes, type(None)):
            continue
        new = _aged(old, OLDEST_S if name.endswith("_since") else 0.0)
        if new is not old and new != old:
            changes[name] = new
    return changes
