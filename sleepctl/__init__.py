"""The command line: runs everything embedded, runs a worker or an API, operates an installation."""
