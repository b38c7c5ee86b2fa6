"""How SQLite is spoken to."""

from __future__ import annotations

import re

from support.tree import source_files


def test_no_placeholder_has_a_number() -> None:
    # The first releases of Python 3.12 take `?1` for a name and warn of it, at every statement.
    sources = {
        name: file.read_text() for name, file in source_files().items() if name.startswith("leasekit.backends.sqlite")
    }
    assert any("= ?" in source for source in sources.values())
    assert [name for name, source in sources.items() if re.search(r"\?\d", source)] == []
