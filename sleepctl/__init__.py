"""The command line: run everything embedded, run a worker or an API, operate an installation."""
