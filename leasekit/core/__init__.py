"""Decisions as functions of events and time handed in: no I/O, no clock, no randomness."""
