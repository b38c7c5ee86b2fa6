"""What a command may be at most. All members refuse alike, so these change only with the version of the commands."""

from __future__ import annotations

KEY_MAX_BYTES = 1024
"""Of a key or a prefix, in UTF-8."""
VALUE_MAX_BYTES = 1024 * 1024
OPERATIONS_MAX = 128
"""Of the operations of one transaction, and likewise of its compares."""
COMMAND_MAX_BYTES = 1536 * 1024
"""Of a whole encoded command."""
ANSWER_MAX_BYTES = 4 * 1024 * 1024
"""Of keys and values that one transaction of a session reads: its answer is kept, and goes into snapshots."""

TTL_MIN_MS = 100
TTL_MAX_MS = 1_000_000_000_000
NUMBER_MAX = 2**63 - 1
"""Of an index, a revision, a session or a sequence."""
LEASE_ID_MAX_BYTES = 128
NONCE_MAX_BYTES = 64

SESSIONS_MAX = 10_000
ANSWERS_KEPT_MAX = 256
"""For one session."""

CAPACITY_BYTES = 256 * 1024 * 1024
OVERHEAD_BYTES = 256
"""What a key or a lease costs in memory beside its own bytes, roughly: a million empty keys are not free."""
