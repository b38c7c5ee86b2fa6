"""The keys in order: what a prefix costs."""

from __future__ import annotations

from typing import SupportsIndex

from leasekit.backends.raft.kv.keys import Keys
from leasekit.store import Entry


class CountingList(list[str]):
    """Counts the items that are looked at, one by one."""

    looked_at = 0

    def __getitem__(self, position: SupportsIndex) -> str:  # type: ignore[override]
        self.looked_at += 1
        return super().__getitem__(position)


def test_a_prefix_is_found_without_a_look_at_every_key() -> None:
    keys = Keys()
    for number in range(1000):
        keys.put(Entry(f"{number:03}", b"", 1, 1, None))
    counting = keys.order = CountingList(keys.order)
    assert [entry.key for entry in keys.under("12")] == [f"12{digit}" for digit in range(10)]
    assert not keys.none_under("12")
    assert keys.none_under("12345")
    # Ten that are found and the one behind; what bisecting looks at is no more than 10 each time.
    assert counting.looked_at <= 11 + 2 + 3 * 10
