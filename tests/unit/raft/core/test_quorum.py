"""Majorities, against a slower second version and the tables of etcd's raft where they are at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasekit.backends.raft.core.quorum import UNBOUNDED, Verdict, agreed, majority, verdict
from support.binaries import REPOSITORY

_TABLES = REPOSITORY.parent / "shared" / "data" / "quorum"
_VERDICTS = {"VoteWon": Verdict.WON, "VoteLost": Verdict.LOST, "VotePending": Verdict.PENDING}


@pytest.mark.parametrize(("voters", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half(voters: int, expected: int) -> None:
    assert majority(voters) == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_a_majority_has_reached_what_is_agreed_on_and_no_more(values: list[int]) -> None:
    index = agreed(values)
    assert sum(value >= index for value in values) > len(values) / 2
    assert sum(value >= index + 1 for value in values) <= len(values) / 2


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=7))
def test_a_vote_is_decided_when_no_further_answer_can_change_it(answers: list[bool | None]) -> None:
    voters = [str(place) for place in range(len(answers))]
    votes = {voter: answer for voter, answer in zip(voters, answers, strict=True) if answer is not None}
    missing = answers.count(None)
    for_it = answers.count(True)
    if for_it > len(voters) / 2:
        expected = Verdict.WON
    elif for_it + missing > len(voters) / 2:
        expected = Verdict.PENDING
    else:
        expected = Verdict.LOST
    assert verdict(voters, votes) is expected


def test_a_stranger_s_answer_does_not_count() -> None:
    assert verdict("abc", {"a": True, "x": True, "y": True}) is Verdict.PENDING
    assert verdict("abc", {"x": False, "y": False}) is Verdict.PENDING


def test_nobody_agrees_on_everything() -> None:
    assert agreed([]) == UNBOUNDED


def _cases(name: str) -> Iterator[tuple[str, str]]:
    """The commands of a table, and the last line of what is expected of each."""
    path = _TABLES / name
    if not path.exists():
        pytest.skip(f"{name} of the shared data is not at hand")
    for command, output in re.findall(r"^(\w+.*)\n----\n((?:.+\n?)*)", _without_comments(path), re.MULTILINE):
        yield command, output.strip().splitlines()[-1]


def _without_comments(path: Path) -> str:
    return "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))


def _list(command: str, name: str) -> list[str]:
    """The items of `name=(...)`: with or without commas."""
    found = re.search(rf"\b{name}=\(([^)]*)\)", command)
    if found is None:
        return []
    return [item for item in re.split(r"[,\s]+", found[1]) if item]


def test_what_is_agreed_on_is_what_etcd_s_table_says() -> None:
    checked = 0
    for command, expected in _cases("majority_commit.txt"):
        indexes = [0 if item == "_" else int(item) for item in _list(command, "idx")]
        assert agreed(indexes) == (UNBOUNDED if "∞" in expected else int(expected)), command
        checked += 1
    assert checked > 10


def test_verdicts_are_those_of_etcd_s_table() -> None:
    checked = 0
    for command, expected in _cases("majority_vote.txt"):
        answers = _list(command, "votes")
        voters = [str(place) for place in range(len(answers))]
        votes = {voter: answer == "y" for voter, answer in zip(voters, answers, strict=True) if answer != "_"}
        assert verdict(voters, votes) is _VERDICTS[expected], command
        checked += 1
    assert checked > 10
