"""The simulator finds faults that are put into the code. All of them: `leasekit.backends.raft.simulator.mutants.main`."""

import pytest

from leasekit.backends.raft.simulator import mutants
from leasekit.backends.raft.simulator.mutant_table import MUTANTS, Edit, Mutant

QUICK = [
    "vote-before-sync",
    "two-votes",
    "acknowledged-before-sync",
    "deposed-leader-reads",
    "applied-twice",
    "no-sync",
]


def test_there_are_enough_of_them_under_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_still_in_the_code_and_what_comes_of_it_compiles(mutant: Mutant) -> None:
    for name, source in mutants.mutated(mutant).items():
        compile(source, name, "exec")


def test_a_text_that_is_not_in_the_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        mutants.mutated(Mutant("none", "nothing", (Edit("core.quorum", "no such text", ""),)))


def test_a_text_that_is_there_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="not once"):
        mutants.mutated(Mutant("many", "everything", (Edit("core.quorum", "return", ""),)))


@pytest.mark.timeout(600)
def test_some_that_are_found_quickly() -> None:
    chosen = [mutant for mutant in MUTANTS if mutant.name in QUICK]
    assert len(chosen) == len(QUICK)
    missed = [found.mutant.name for found in mutants.find_all(chosen, seeds_max=100) if found.seeds is None]
    assert not missed
