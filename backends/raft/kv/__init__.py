"""The replicated state machine: keys, transactions, leases, sessions and the changes that watches tell. Pure."""
