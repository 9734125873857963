"""One worker process: what it starts, watches and stops."""
