"""The proof that slots are run once, on real stores: `python -m cronproof`.

Five workers as processes in network namespaces of their own, each with a wall clock of its own, serve the same jobs while
they are killed, paused and their store is restarted. What they wrote down and what stands in the store is then judged.
"""
