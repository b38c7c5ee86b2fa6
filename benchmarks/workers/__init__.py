"""Processes under measurement: each drives one library, in an environment of its own, and says when what happened."""
