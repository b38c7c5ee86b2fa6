"""What happens in elections, as log records of `leasekit.election`: a sentence for people, `extra` for programs.

Quiet by default: the logger has a handler that prints nothing, so that Python's handler of last resort does not come in,
and while there is no other one no record is made at all. Names in `extra` begin with `leasekit_`, so that they clash with
no attribute of a LogRecord. No secret is in any: store URLs and errors come without.
"""

from __future__ import annotations

import logging

from leasekit.observability.events import GIVEN_UP, Elected, Ended, Event, Refused, Renewal, StoreBack, StoreFailing

LOGGER = logging.getLogger("leasekit.election")
LOGGER.addHandler(logging.NullHandler())


def wanted(event: Event) -> bool:
    """Whether anybody would read it."""
    return LOGGER.isEnabledFor(_level(event)) and _read(LOGGER)


def write(event: Event) -> None:
    """Log it."""
    if isinstance(event, Renewal):
        text, told = _renewal(event)
    else:
        text, told = _told(event)
    LOGGER.log(_level(event), text, extra={f"leasekit_{name}": value for name, value in told.items()})


def _level(event: Event) -> int:
    match event:
        case Renewal():
            return logging.DEBUG
        case StoreFailing() | Refused():
            return logging.WARNING
        case Ended() if event.reason not in GIVEN_UP:
            return logging.WARNING
        case _:
            return logging.INFO


def _read(logger: logging.Logger | None) -> bool:
    """Whether some handler on the way up does more than nothing."""
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _told(event: Elected | Ended | StoreFailing | StoreBack | Refused) -> tuple[str, dict[str, object]]:
    match event:
        case Elected(election, id, token, store, _):
            text = f"elected in {election!r}, token {token}"
            return text, {"event": "elected", "election": election, "id": id, "token": token, "store": store}
        case Ended(election, id, token, reason, lasted_s, _):
            kind = reason.value if reason in GIVEN_UP else "lost"
            told = {"event": kind, "election": election, "id": id, "token": token, "reason": reason.value}
            text = f"leadership of {election!r}, token {token}, is over: {reason.value}"
            return text, {**told, "lasted_s": round(lasted_s, 6)}
        case StoreFailing(store, renewing, error, why):
            kind, what = ("renewal_failing", "renewals fail") if renewing else ("store_unreachable", "no lease granted")
            return f"{what} on {store}: {why}", {"event": kind, "store": store, "error": error}
        case StoreBack(store, after_s):
            text = f"{store} answers again, after {after_s:.1f} s"
            return text, {"event": "store_back", "store": store, "after_s": round(after_s, 6)}
        case Refused(resource, election, token, highest):
            text = f"{resource!r} refused token {token} of {election!r}, having seen {highest}"
            told = {"event": "fence_refused", "resource": resource, "election": election}
            return text, {**told, "token": token, "highest": highest}


def _renewal(event: Renewal) -> tuple[str, dict[str, object]]:
    text = f"renewal over {event.scheme}: {event.outcome.value} in {event.took_s * 1000:.1f} ms"
    return text, {"event": "renewal", "outcome": event.outcome.value, "took_s": round(event.took_s, 6)}
