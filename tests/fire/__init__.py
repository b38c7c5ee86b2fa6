"""The watchdog under fire: the real `leasekit run` over real stores, commands that will not die, and faults on every side.

`PYTHONPATH=tests python -m fire` measures; `test_fire.py` is a short version for every run of the tests.
"""
