"""How things stand in this process at the moment of asking, computed from the clock in the asking thread.

What a thread had written down would lie after a pause, until that thread ran again (DESIGN section 5). Asking makes no
request to a store.
"""

from __future__ import annotations

from dataclasses import dataclass

from leasekit import connection


@dataclass(frozen=True, slots=True)
class Standing:
    """Where this process stands in the elections of one name, over whatever stores."""

    election: str
    leads: bool
    remaining_s: float
    """For how long it leads on if no renewal comes through any more; 0 while it does not lead."""
    waiting: int | None
    """How many queue behind the leader, as last seen by a candidate here; None: none has looked."""


def standings() -> list[Standing]:
    """One for each name of an election that this process has a candidate in, by name."""
    found: dict[str, Standing] = {}
    for one in connection.every_open():
        for elector in one.electors():
            tenure = elector.tenure
            name = elector.setup.keys.election
            remaining_s = 0.0 if tenure is None else tenure.remaining_s
            leads = tenure is not None and tenure.loss is None
            standing = Standing(name, leads, remaining_s if leads else 0.0, elector.waiting)
            found[name] = standing if name not in found else _together(found[name], standing)
    return [found[name] for name in sorted(found)]


def leads(election: str | None) -> bool:
    """Whether this process leads in that election (None: in any) at this moment."""
    held = (tenure for one in connection.every_open() for tenure in one.tenures())
    return any(tenure.loss is None for tenure in held if election in (None, tenure.election))


def able_to_lead() -> bool | None:
    """Whether every lease that somebody here campaigns or leads on may be trusted now; None: nobody does either.

    A lease says more than a ping would: the store granted it or confirmed it less than a ttl ago, and whoever is next in
    a queue could be elected on it.
    """
    needed = [keeper.trusted for one in connection.every_open() for keeper in one.keepers() if keeper.needed]
    return all(needed) if needed else None


def _together(one: Standing, other: Standing) -> Standing:
    """Several candidates in elections of one name: it leads if one of them does."""
    seen = [waiting for waiting in (one.waiting, other.waiting) if waiting is not None]
    return Standing(
        one.election,
        one.leads or other.leads,
        max(one.remaining_s, other.remaining_s),
        max(seen, default=None),
    )
