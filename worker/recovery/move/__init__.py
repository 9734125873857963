"""Move an installation to new topics with another number of partitions.

The new log begins after a marker that is removed at once. So it looks like a log whose beginning retention has
removed: the states topic says how each tenant begins, and Redis says the same. Lanes, verification and rebuild know
such logs. The old topics and the old keys are only read.
"""
