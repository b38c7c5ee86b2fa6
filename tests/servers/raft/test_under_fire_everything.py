"""A little of everything at once. For more of it: `cd tests && python -m support.raft_fire --minutes 5`."""

from __future__ import annotations

import pytest

from support.raft_fire import burn


@pytest.mark.parametrize(("size", "seed"), [(3, 1), (5, 2)])
def test_whatever_happens_at_once_promises_are_kept(size: int, seed: int) -> None:
    report = burn(size, 8, seed=seed)
    assert report.faults.total() >= 2, report
