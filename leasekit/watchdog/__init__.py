"""A second process that is the parent of one's work and holds its deadline: it kills what outlives it.

For `leasekit run`, and for jobs with `stop="process"`. `guard` is this side of it, `process` the other one.
"""
