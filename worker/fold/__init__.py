"""The fold: pure functions from events to records, outputs and dead letters."""
