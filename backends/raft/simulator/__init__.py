"""Clusters of the real core, log, state machine and server on virtual time, from one seed.

schedule, network, connection, machine, world      what a run consists of
settings, faults, clients, workload                what is done to it
invariants, shadows, reference, linearizability    what must hold
run, campaign, mutants                             one seed; many; and whether a fault would be seen
"""
