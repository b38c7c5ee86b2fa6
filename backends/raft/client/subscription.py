"""One watch: what its consumer has not taken yet, and from where to go on."""

from __future__ import annotations

from leasekit.store import Changed
from leasekit.untaken import Untaken


class Subscription(Untaken):
    """Filled by the hub, emptied by its consumer."""

    def __init__(self, key: str, *, prefix: bool, after: int) -> None:
        super().__init__()
        self.key = key
        self.prefix = prefix
        self.after = after
        """All changes up to this revision are in here or were taken."""

    def tell(self, changes: tuple[Changed, ...], revision: int) -> None:
        """These happened, and nothing else up to `revision`."""
        for change in changes:
            self.put(change)
        self.after = revision

    def resync(self, revision: int) -> None:
        """What happened up to `revision` is not known: the consumer must look. What comes later will be told."""
        self.look_again(revision)
        self.after = revision
