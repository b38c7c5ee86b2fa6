"""Every state of small settings: at most one valid leader, rising tokens, no orphans, nobody waits for ever."""

from __future__ import annotations

import pytest

from model.explore import explore
from model.settings import SMALL


@pytest.mark.parametrize("name", SMALL)
def test_no_state_is_wrong(name: str) -> None:
    result = explore(SMALL[name])
    assert result.counterexample is None, f"\n{result.counterexample}"
    assert result.complete
