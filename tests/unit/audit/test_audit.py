"""What an audit says of journals: who led, what overlapped, in which order; and of journals that are damaged."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from leasekit.audit import audit, read_journal
from leasekit.audit.data import as_data
from leasekit.audit.page import as_html
from leasekit.audit.report import ElectionReport, Report
from leasekit.audit.svg import as_svg
from leasekit.audit.text import as_text
from leasekit.core.journal_event import Kind, dump, load
from leasekit.core.logical import Relation
from support.journals import Author, Machine


def audited(*authors: Author, max_skew_s: float = 1.0) -> Report:
    return audit([author.reading for author in authors], max_skew_s=max_skew_s)


def only(report: Report) -> ElectionReport:
    (election,) = report.elections
    return election


# One machine: moments compare exactly.


def test_leaderships_that_follow_each_other_do_not_overlap() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 15, 10)
    b.leads(5, 10.001, 25, 20)
    report = audited(a, b)
    assert report.safe
    assert only(report).overlaps == ()
    assert [(one.token, one.id, one.end) for one in only(report).leaderships] == [
        (1, "a", "resigned"),
        (5, "b", "resigned"),
    ]
    assert "no two processes believed that they led at once" in as_text(report)


def test_a_paused_leader_overlaps_in_belief_alone() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 15)
    b.leads(5, 11, 25, 20)
    report = audited(b, a)
    (overlap,) = only(report).overlaps
    assert (overlap.first.id, overlap.second.id) == ("a", "b")
    assert overlap.length_s == pytest.approx(4)
    assert overlap.valid_s == 0 and not overlap.valid
    assert overlap.first.late_s == pytest.approx(5)
    assert report.safe
    assert "Two processes believed that they led: once, for 4.000 s" in as_text(report)


def test_two_valid_leaderships_at_once_are_found() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 12, 15)
    b.leads(5, 11, 25, 20)
    report = audited(a, b)
    (overlap,) = only(report).overlaps
    assert overlap.valid and overlap.valid_s == pytest.approx(1)
    assert not report.safe
    assert as_text(report).startswith("TWO VALID LEADERSHIPS OVERLAPPED: once, for 1.000 s")
    assert "both VALID 1.000 s" in as_svg(report)
    assert as_data(report)["elections"][0]["overlaps"][0]["valid"] is True


def test_elections_do_not_overlap_with_each_other() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 5)
    b.tell(Kind.ELECTED, 1, 1, election="other", lease="l", deadline_s=11)
    report = audited(a, b)
    assert report.safe
    assert [election.name for election in report.elections] == ["e", "other"]
    assert [election.name for election in audit([a.reading, b.reading], elections=["other"]).elections] == ["other"]
    missing = audit([a.reading], elections=["nowhere"])
    assert missing.elections == ()
    assert missing.notes == ("no journal tells of election 'nowhere'",)


def test_renewals_move_the_deadline_of_what_is_led_on_that_lease() -> None:
    a = Machine().process("a")
    a.tell(Kind.ELECTED, 0, 1, lease="l", deadline_s=10)
    a.tell(Kind.RENEWED, 8, lease="l", deadline_s=18)
    a.tell(Kind.RENEWED, 9, lease="another", deadline_s=50)
    (one,) = only(audited(a)).leaderships
    assert one.valid_until_s - one.began_s == pytest.approx(18)
    assert one.end == "not written"
    assert len(one.renewed_s) == 1


def test_what_fences_refused_stands_with_the_overlap() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 15)
    b.leads(5, 11, 25, 20)
    a.tell(Kind.FENCED, 15.5, 1, resource="table", highest=5)
    election = only(audited(a, b))
    (overlap,) = election.overlaps
    (refused,) = election.refused_during(overlap)
    assert refused.event.details["highest"] == 5
    assert "'table' refuses token 1, having seen 5" in as_text(audited(a, b))


# Several machines: wall clocks, as far as they agree.


def test_the_clocks_of_two_machines_decide_nothing_within_their_skew() -> None:
    a, b = Machine("m1").process("a"), Machine("m2", booted_s=5, ahead_s=-0.4).process("b")
    a.leads(1, 0, 10, 9.9)
    b.leads(5, 10, 25, 20)
    election = only(audited(a, b, max_skew_s=1))
    assert election.overlaps == ()
    assert election.undecided == 1
    assert "closer than their clocks agree" in as_text(audited(a, b))
    exact = audited(a, b, max_skew_s=0.1)
    assert not exact.safe, "taken at its word, the second clock proves an overlap"


def test_an_overlap_that_no_skew_explains_is_found_between_machines() -> None:
    a, b = Machine("m1").process("a"), Machine("m2", booted_s=5, ahead_s=0.4).process("b")
    a.leads(1, 0, 20, 20)
    b.leads(5, 10, 25, 25)
    (overlap,) = only(audited(a, b)).overlaps
    assert overlap.valid and overlap.valid_s == pytest.approx(9.6)
    assert overlap.uncertain_s == 1.0


def test_a_handover_that_is_known_to_have_come_before_is_none_whatever_the_clocks_say() -> None:
    a, b = Machine("m1", ahead_s=30).process("a"), Machine("m2").process("b")
    a.tell(Kind.ELECTED, 0, 1, lease="l", deadline_s=100)
    a.tell(Kind.TRANSFERRED, 10, 1, lease="l", deadline_s=100, reason="transferred")
    b.hears(a)
    b.leads(5, 10.01, 100, 90)
    report = audited(a, b)
    assert only(report).overlaps == ()
    assert report.safe
    assert report.notes == (
        "the clock of m1 is ahead of that of m2 by 30.0 s at least, more than the 1 s allowed for: give --max-skew",
    )


def test_a_wall_clock_that_was_set_moves_nothing_on_its_machine() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 15, 10)
    machine.ahead_s = -3600
    b.leads(5, 11, 25, 20)
    report = audited(a, b)
    assert only(report).overlaps == ()
    assert "its wall clock was set by 3600.0 s" in report.notes[0]


# Order.


def test_events_stand_after_what_happened_before_them_and_concurrency_is_marked() -> None:
    a, b = Machine("m1", ahead_s=5).process("a"), Machine("m2").process("b")
    a.tell(Kind.CAMPAIGN, 0)
    b.hears(a)
    b.tell(Kind.OBSERVED, 1, 1, leader="a")  # by its clock four seconds before
    a.tell(Kind.CAMPAIGN, 2)
    order = only(audited(a, b, max_skew_s=10)).events
    assert [(one.event.id, one.heard, one.concurrent) for one in order] == [
        ("a", (), False),
        ("b", (1,), False),
        ("a", (), True),
    ]


def test_what_is_known_by_way_of_another_is_not_named() -> None:
    machine = Machine()
    a, b, c = (machine.process(name) for name in "abc")
    a.tell(Kind.CAMPAIGN, 0)
    b.hears(a)
    b.tell(Kind.CAMPAIGN, 1)
    c.hears(b)
    c.tell(Kind.CAMPAIGN, 2)
    assert [placed.heard for placed in only(audited(a, b, c)).events] == [(), (1,), (2,)]


def test_the_relation_of_an_end_and_the_next_election_is_told() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 15)
    b.leads(5, 11, 25, 20)
    assert only(audited(a, b)).overlaps[0].order is Relation.CONCURRENT


# What is suspicious, or damaged.


def test_one_token_in_two_processes_is_a_copy_or_another_store() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 5)
    b.leads(1, 20, 30, 25)
    assert "token 1 was held by 2 processes" in audited(a, b).notes[0]


def test_different_names_of_the_store_are_told() -> None:
    a, b = Machine().process("a"), Machine().process("b")
    a.tell(Kind.CAMPAIGN, 0, store="etcd://h1")
    b.tell(Kind.CAMPAIGN, 0, store="etcd://h2")
    assert "name the store differently (etcd://h1, etcd://h2)" in audited(a, b).notes[0]


def test_lines_that_are_missing_are_counted() -> None:
    a = Machine().process("a")
    for at_s in range(5):
        a.tell(Kind.CAMPAIGN, at_s)
    del a.events[1:3]
    assert audited(a).notes == ("m-a: 2 of its 5 events are missing (not written, or not given)",)


def test_an_end_without_a_beginning_is_left_out_and_told() -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 5)
    a.leads(2, 20, 30, 25)
    del a.events[0]
    report = audited(a)
    assert [one.token for one in only(report).leaderships] == [2]
    assert any("the beginning of token 1 is in no journal" in said for said in report.notes)


def test_the_same_file_twice_is_the_same_events() -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 5)
    assert audit([a.reading, a.reading]) == audit([a.reading])


def test_a_torn_last_line_is_told_and_skipped() -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 5)
    reading = read_journal("j", a.file[:-20])
    assert [event.kind for event in reading.events] == [Kind.ELECTED]
    assert reading.faults == ("j: the last line is torn, as a crash leaves it; skipped",)
    assert not reading.foreign


def test_a_torn_line_in_the_middle_is_that_of_an_earlier_life() -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 5)
    first, second = a.file.splitlines(keepends=True)
    reading = read_journal("j", first[:30] + b"\n" + second)
    assert reading.faults == ("j: line 1 is torn, as a crash leaves it; skipped",)
    assert len(reading.events) == 1


@pytest.mark.parametrize("data", [b"\x00\xff" * 100, b"hello\nworld\n", b'{"a": 1}\n', b"[1, 2]"])
def test_a_file_that_is_no_journal_says_so(data: bytes) -> None:
    reading = read_journal("notes.txt", data)
    assert reading.foreign
    assert reading.faults == ("notes.txt is no journal",)


def test_an_empty_journal_is_one() -> None:
    assert not read_journal("j", b"").foreign
    assert as_text(audit([read_journal("j", b"")])) == "These journals tell of no leadership."


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("schema", 2, "has schema 2, this leasekit reads 1"),
        ("event", "danced", "tells of 'danced'"),
        ("boot_s", "soon", "garbled"),
        ("boot_s", 1e300, "garbled"),
        ("boot_s", True, "garbled"),
        ("wall", "yesterday", "garbled"),
        ("seq", -1, "garbled"),
        ("clock", {"a": "b"}, "garbled"),
        ("token", "7", "garbled"),
        ("host", None, "garbled"),
        ("resource", "\ud800", "not JSON"),
        ("highest", float("nan"), "not JSON"),
    ],
)
def test_a_garbled_line_is_told_and_skipped(field: str, value: object, says: str) -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 5)
    first, second = a.file.splitlines()
    garbled = json.dumps({**json.loads(first), field: value}).encode()
    reading = read_journal("j", garbled + b"\n" + second)
    assert [event.seq for event in reading.events] == [2]
    assert len(reading.faults) == 1 and says in reading.faults[0]


def test_a_line_that_lacks_a_key_names_it() -> None:
    a = Machine().process("a")
    a.tell(Kind.CAMPAIGN, 0)
    line = json.loads(a.file)
    del line["pid"]
    assert "lacks 'pid'" in read_journal("j", json.dumps(line).encode()).faults[0]


def test_many_faults_are_summed_up() -> None:
    a = Machine().process("a")
    a.tell(Kind.CAMPAIGN, 0)
    faults = read_journal("j", a.file + b"rubbish\n" * 50).faults
    assert len(faults) == 11
    assert faults[-1] == "j: 40 more lines were skipped"


# Forms.


def test_an_event_is_read_as_it_was_written() -> None:
    a = Machine().process("a")
    event = a.tell(Kind.FENCED, 1.5, 3, resource="täble", highest=9)
    assert load(dump(event)) == event


def test_what_a_journal_says_cannot_break_a_page_or_a_terminal() -> None:
    a = Machine().process("<script>alert(1)</script>\x1b[31m")
    a.leads(1, 0, 10, 15)
    report = audited(a)
    for written in (as_html(report), as_svg(report), as_text(report, events=True)):
        assert "\x1b" not in written
    assert "<script" not in as_html(report)
    ElementTree.fromstring(as_svg(report))


def test_the_picture_has_a_lane_for_each_process_and_a_bar_for_each_leadership() -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 15)
    b.leads(5, 11, 25, 20)
    picture = ElementTree.fromstring(as_svg(audited(a, b)))
    kinds = [element.get("class") for element in picture.iter()]
    assert kinds.count("lane") == 2
    assert kinds.count("valid") == 2 + 1  # and the legend's
    assert kinds.count("late") == 1 + 1
    assert kinds.count("band") == 1
    assert "both believed 4.000 s" in as_svg(audited(a, b))


def test_the_page_needs_nothing_else() -> None:
    a = Machine().process("a")
    a.leads(1, 0, 10, 15)
    page = as_html(audited(a))
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    for elsewhere in ("<script", "<link", "<img", "src=", "@import", "url(http"):
        assert elsewhere not in page
