"""The public states of tenants as server-sent events: a list in memory, and what clients get of it."""
