"""Slots: each firing of a cron schedule is run once, by whichever machine claims it first."""
