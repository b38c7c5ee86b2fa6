"""The scripts beside this file say what members tell each other, line by line; see `support.raft_script`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.raft_script import Script

_SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.stem)
def test_it_happens_as_the_script_says(path: Path) -> None:
    text = path.read_text()
    assert Script().run(text) == text


def test_the_scripts_are_there() -> None:
    assert len(_SCRIPTS) >= 8
