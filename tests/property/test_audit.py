"""Audits of whatever happened, against what truly happened; and of whatever stands in a file."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasekit.audit import audit, read_journal
from leasekit.audit.data import as_data
from leasekit.audit.page import as_html
from leasekit.audit.svg import as_svg
from leasekit.audit.text import as_text
from leasekit.core.journal_event import Kind
from leasekit.core.logical import Relation
from support.journals import Author, Machine


@dataclass(frozen=True)
class Reign:
    """A leadership as it truly was, in whole tenths of a second."""

    process: int
    token: int
    began: int
    deadline: int
    noticed: int

    @property
    def valid_until(self) -> int:
        return min(self.deadline, self.noticed)


@st.composite
def reigns(draw: st.DrawFn) -> list[Reign]:
    """Of up to four processes; those of one process one after the other."""
    found: list[Reign] = []
    for process in range(draw(st.integers(1, 4))):
        now = 0
        for _ in range(draw(st.integers(0, 4))):
            began = now + draw(st.integers(1, 30))
            deadline = began + draw(st.integers(0, 30))
            now = began + draw(st.integers(0, 40))
            found.append(Reign(process, len(found) + 1, began, deadline, now))
    return found


def written(found: list[Reign], machines: list[Machine]) -> list[Author]:
    authors = [machine.process(f"p{number}") for number, machine in enumerate(machines)]
    for reign in found:
        author = authors[reign.process]
        author.leads(reign.token, reign.began / 10, reign.deadline / 10, reign.noticed / 10)
    return authors


def believed(one: Reign, other: Reign) -> int:
    """For how long both were believed in; negative if they were apart."""
    return min(one.noticed, other.noticed) - max(one.began, other.began)


def valid(one: Reign, other: Reign) -> int:
    return min(one.valid_until, other.valid_until) - max(one.began, other.began)


@given(reigns())
def test_on_one_machine_every_overlap_is_found_with_its_length_and_no_other(found: list[Reign]) -> None:
    machine = Machine()
    report = audit(author.reading for author in written(found, [machine] * 4))
    told = {
        frozenset((overlap.first.token, overlap.second.token)): (overlap.length_s, overlap.valid_s)
        for election in report.elections
        for overlap in election.overlaps
    }
    true = {
        frozenset((one.token, other.token)): (believed(one, other), max(0, valid(one, other)))
        for one in found
        for other in found
        if one.process < other.process and believed(one, other) > 0
    }
    assert told.keys() == true.keys()
    for pair, lengths in true.items():
        assert told[pair] == pytest.approx(tuple(length / 10 for length in lengths), abs=1e-4)
    assert report.safe == all(both_valid == 0 for _, both_valid in true.values())


@given(reigns(), st.lists(st.integers(-5, 5), min_size=4, max_size=4))
def test_between_machines_nothing_is_told_that_skewed_clocks_could_have_made(
    found: list[Reign], ahead: list[int]
) -> None:
    machines = [Machine(f"m{n}", booted_s=100.0 * n, ahead_s=tenths / 10) for n, tenths in enumerate(ahead)]
    report = audit((author.reading for author in written(found, machines)), max_skew_s=1.0)
    by_token = {reign.token: reign for reign in found}
    for election in report.elections:
        for overlap in election.overlaps:
            one, other = by_token[overlap.first.token], by_token[overlap.second.token]
            assert believed(one, other) > 0
            assert not overlap.valid or valid(one, other) > 0
    surely = any(valid(one, other) > 20 for one in found for other in found if one.process < other.process)
    assert not (surely and report.safe), "an overlap beyond twice the skew cannot be missed"


messages = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


@given(messages, st.lists(st.integers(-50, 50), min_size=4, max_size=4))
def test_no_event_stands_before_what_happened_before_it(moves: list[tuple[int, int]], ahead: list[int]) -> None:
    authors = [Machine(f"m{n}", ahead_s=float(ahead[n])).process(f"p{n}") for n in range(4)]
    for at_s, (who, heard) in enumerate(moves):
        authors[who].hears(authors[heard])
        authors[who].tell(Kind.CAMPAIGN, float(at_s))
    for election in audit((author.reading for author in authors), max_skew_s=1000).elections:
        order = [placed.event for placed in election.events]
        assert len(order) == len(moves)
        for position, event in enumerate(order):
            assert all(later.clock.compared(event.clock) is not Relation.BEFORE for later in order[position:])
        for before, placed in zip(order, election.events[1:], strict=False):
            assert placed.concurrent is (before.clock.compared(placed.event.clock) is Relation.CONCURRENT)


SAMPLE = b"".join(
    author.file for author in written([Reign(0, 1, 0, 30, 60), Reign(1, 2, 35, 90, 80)], [Machine(), Machine("n")])
)


@given(st.data())
def test_whatever_stands_in_a_file_is_read_or_told_and_never_breaks_a_report(data: st.DataObject) -> None:
    damaged = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        length = data.draw(st.integers(0, 30))
        damaged[at : at + length] = data.draw(st.binary(max_size=30))
    reading = read_journal("j", bytes(damaged))
    report = audit([reading])
    lines = sum(1 for line in bytes(damaged).split(b"\n") if line)
    assert len(reading.events) == lines or reading.faults
    as_text(report, events=True)
    as_html(report)
    as_data(report)
    if report.elections:
        ElementTree.fromstring(as_svg(report))
