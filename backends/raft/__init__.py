"""The native Raft store: a replicated key-value state machine with leases, for users without an external store."""
