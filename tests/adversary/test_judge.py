"""The judge of the adversarial suite, on records made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.judge import FIRST, SECOND, judge
from adversary.record import Attempt, Elected, Held, Outcome, Pen, Record

TOKENS = {FIRST: 5, SECOND: 9}
ELECTED = [Elected(FIRST, 5, -9, -8), Elected(SECOND, 9, -7, -1)]


class Story:
    """A round, told attempt by attempt."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.held: list[Held] = []
        self._place = 0

    def write(self, writer: str, outcome: Outcome, *, taken: bool, open_for: int = 1) -> Story:
        """An attempt that ends `open_for` places after it began; the resource takes it at once."""
        number, token = len(self.attempts), TOKENS[writer]
        self.attempts.append(Attempt(writer, number, token, self._place, self._place + open_for, outcome))
        self._place += 2
        if taken:
            self.held.append(Held(writer, number, token))
        return self


def handover() -> Story:
    story = Story().write(FIRST, Outcome.ACCEPTED, taken=True).write(FIRST, Outcome.ACCEPTED, taken=True)
    return story.write(SECOND, Outcome.ACCEPTED, taken=True)


def test_a_stale_write_that_was_refused_is_right() -> None:
    story = handover().write(FIRST, Outcome.REFUSED, taken=False).write(SECOND, Outcome.ACCEPTED, taken=True)
    verdict = judge(story.attempts, story.held, ELECTED)
    assert verdict.violations == ()
    assert (verdict.attempts, verdict.accepted, verdict.stale, verdict.refused) == (5, 4, 1, 1)


def test_a_stale_write_that_was_accepted_is_wrong() -> None:
    story = handover().write(FIRST, Outcome.ACCEPTED, taken=True)
    verdict = judge(story.attempts, story.held, ELECTED)
    assert (verdict.stale, verdict.stale_accepted) == (1, 1)
    assert verdict.violations == ("first's write 3 was taken after one of a higher token",)


def test_a_stale_write_of_unknown_outcome_is_wrong_only_if_the_resource_took_it() -> None:
    story = handover().write(FIRST, Outcome.UNKNOWN, taken=False)
    assert judge(story.attempts, story.held, ELECTED).violations == ()
    story = handover().write(FIRST, Outcome.UNKNOWN, taken=True)
    assert judge(story.attempts, story.held, ELECTED).stale_accepted == 1


def test_tokens_that_fall_in_the_resource_are_wrong_though_the_writers_overlapped() -> None:
    story = Story().write(FIRST, Outcome.ACCEPTED, taken=False, open_for=5)
    story.write(SECOND, Outcome.ACCEPTED, taken=True)
    story.held.append(Held(FIRST, 0, 5))
    verdict = judge(story.attempts, story.held, ELECTED)
    assert (verdict.stale, verdict.stale_accepted) == (0, 1)


def test_a_write_that_began_before_the_successor_was_answered_is_not_stale() -> None:
    story = Story().write(FIRST, Outcome.ACCEPTED, taken=True).write(SECOND, Outcome.ACCEPTED, taken=True, open_for=9)
    story.write(FIRST, Outcome.REFUSED, taken=False)
    assert judge(story.attempts, story.held, ELECTED).stale == 0


def test_a_write_that_is_lost_without_an_error_is_wrong() -> None:
    story = Story().write(FIRST, Outcome.ACCEPTED, taken=False)
    (violation,) = judge(story.attempts, story.held, ELECTED).violations
    assert "no error was raised" in violation


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED])
def test_a_write_that_was_made_in_spite_of_an_error_is_wrong(outcome: Outcome) -> None:
    story = Story().write(FIRST, outcome, taken=True)
    assert len(judge(story.attempts, story.held, ELECTED).violations) == 1


def test_a_write_without_an_answer_may_be_held_or_not() -> None:
    for taken in (True, False):
        story = Story().write(FIRST, Outcome.UNKNOWN, taken=taken)
        assert judge(story.attempts, story.held, ELECTED).violations == ()


def test_what_nobody_wrote_or_with_another_token_or_twice_is_wrong() -> None:
    story = Story().write(FIRST, Outcome.ACCEPTED, taken=True)
    assert len(judge([], story.held, ELECTED).violations) == 1
    assert len(judge(story.attempts, [Held(FIRST, 0, 6)], ELECTED).violations) == 1
    assert len(judge(story.attempts, story.held * 2, ELECTED).violations) == 1


def test_a_token_that_does_not_rise_is_wrong() -> None:
    first, second = Elected(FIRST, 9, campaigned=0, place=1), Elected(SECOND, 8, campaigned=2, place=3)
    (violation,) = judge([], [], [first, second]).violations
    assert violation.startswith("the token did not rise: ")
    assert judge([], [], [first]).violations == ()


def test_of_two_that_campaigned_at_once_either_may_have_the_lower_token() -> None:
    first, second = Elected(FIRST, 9, campaigned=0, place=2), Elected(SECOND, 8, campaigned=1, place=3)
    assert judge([], [], [first, second]).violations == ()


def test_a_token_that_is_given_twice_is_wrong() -> None:
    first, second = Elected(FIRST, 9, campaigned=0, place=2), Elected(SECOND, 9, campaigned=1, place=3)
    assert judge([], [], [first, second]).violations == ("token 9 was given 2 times",)


def test_a_record_is_read_as_it_grows(tmp_path: Path) -> None:
    record, pen = Record(tmp_path / "record"), Pen(tmp_path / "record", FIRST)
    record.read()
    assert record.in_order == []
    pen.write("campaigns")
    pen.write("elected", token=5)
    pen.write("begin", number=1, token=5)
    record.read()
    assert record.in_order == [Attempt(FIRST, 1, 5, 2, None, Outcome.UNKNOWN)]
    pen.write("end", number=1, outcome="refused", why="x")
    pen.write("done")
    record.read()
    assert record.in_order == [Attempt(FIRST, 1, 5, 2, 3, Outcome.REFUSED, "x")]
    assert record.elected == [Elected(FIRST, 5, 0, 1)]
    assert record.said == {(FIRST, "campaigns"), (FIRST, "done")}
    assert record.was_elected(FIRST) and not record.was_elected(SECOND)
