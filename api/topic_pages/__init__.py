"""Pages of a topic, the newest record first: the audit and the dead letters."""
