"""`leasekit compare`: one set of scenarios on each store, side by side.

`command` reads the command line, `run` starts the stores (`servers`) and lets the scenarios (`calm`, `rough`) play on each
(`stage`, `play`), carried out by processes of their own (`worker`, which obeys by `candidacies` and `direct`). What comes
out (`metrics`, `figures`, `results`) is shown by `tables`, `plots` and `page`: pure functions, apart from all that.
"""

from leasekit.cli.compare.command import compare

__all__ = ["compare"]
