"""Clusters of the real core, log, state machine and server on virtual time, from one seed."""
