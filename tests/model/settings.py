"""The settings that are explored: small ones in the test suite, each to its end, and large ones by `python -m model`."""

from __future__ import annotations

from dataclasses import replace

from model.moves import Menu
from model.storage import CONSUL
from model.world import Setting

EVERYTHING = replace(Menu(), faults=Menu().faults | {"missed"})
OPERATORS = Menu(wishes=frozenset({"force", "rebase", "request", "resign"}))
RANKED = replace(Menu(), ordered=False)

LATENESS = Menu(faults=frozenset({"applied late", "pause"}), wishes=frozenset({"give up", "resign"}))

SMALL = {
    "one process, two faults": Setting(processes=1, faults=2, wishes=2, campaigns=1, menu=LATENESS),
    "two processes": Setting(processes=2, faults=1, wishes=1, campaigns=1),
    "two processes that miss changes": Setting(processes=2, faults=1, wishes=0, campaigns=2, menu=EVERYTHING),
    "two processes that campaign again": Setting(processes=2, faults=0, wishes=2, campaigns=2),
    "two processes on Consul": Setting(processes=2, faults=1, wishes=1, campaigns=1, store=CONSUL, menu=LATENESS),
    "two processes on Consul that campaign again": Setting(processes=2, faults=1, wishes=0, campaigns=2, store=CONSUL),
    "two processes and an operator": Setting(
        processes=2, faults=1, wishes=1, campaigns=1, menu=replace(OPERATORS, faults=frozenset({"cut", "told late"}))
    ),
    "a single try against a campaign": Setting(
        processes=2, faults=1, wishes=1, campaigns=1, menu=replace(LATENESS, once=frozenset("B"))
    ),
    "behind a candidate that never claims": Setting(
        processes=2, faults=1, wishes=0, campaigns=1, idler=True, menu=LATENESS
    ),
    "the later with a higher priority": Setting(
        processes=2, faults=1, wishes=0, campaigns=1, priorities=(0, 1, 0), timed_looks=True, menu=RANKED
    ),
    "three processes, one fault": Setting(processes=3, faults=1, wishes=0, campaigns=1),
    "three processes, two wishes": Setting(processes=3, faults=0, wishes=2, campaigns=1),
    "three processes and an operator": Setting(processes=3, faults=0, wishes=2, campaigns=1, menu=OPERATORS),
}

LARGE = {
    "one process, four faults": Setting(processes=1, faults=4, wishes=2, campaigns=2, menu=EVERYTHING),
    "two processes, four faults": Setting(processes=2, faults=4, wishes=0, campaigns=2),
    "two processes, four faults, two wishes": Setting(processes=2, faults=4, wishes=2, campaigns=2, menu=EVERYTHING),
    "two processes on Consul, four faults": Setting(processes=2, faults=4, wishes=1, campaigns=2, store=CONSUL),
    "two processes and an operator, two faults": Setting(processes=2, faults=2, wishes=2, campaigns=2, menu=OPERATORS),
    "two processes, one fault, to the end": Setting(processes=2, faults=1, wishes=1, campaigns=2),
    "three processes, one fault, to the end": Setting(processes=3, faults=1, wishes=1, campaigns=1),
    "three processes, two faults": Setting(processes=3, faults=2, wishes=1, campaigns=1),
    "three processes on Consul, two faults": Setting(processes=3, faults=2, wishes=1, campaigns=2, store=CONSUL),
    "three processes and an operator, two faults": Setting(
        processes=3, faults=2, wishes=2, campaigns=1, menu=OPERATORS
    ),
    "behind a candidate that never claims, two faults": Setting(
        processes=2, faults=2, wishes=2, campaigns=2, idler=True
    ),
}
