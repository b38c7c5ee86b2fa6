"""`leasekit compare`: one set of scenarios on each store, side by side."""
