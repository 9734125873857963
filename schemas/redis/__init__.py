"""Redis: the layouts of values, and the client of worker and API."""
