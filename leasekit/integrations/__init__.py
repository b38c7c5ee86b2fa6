"""leasekit where people already schedule and serve: one module for each, imported only when asked for.

`apscheduler` needs the extra of that name, and `pytest` needs pytest; `asgi` and `systemd` need no other package.
docs/integrations.md has the recipes.
"""
