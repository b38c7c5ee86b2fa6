"""Guards on trial: real leaders are paused, cut off, starved, and go on to write with tokens that are no longer the highest."""
