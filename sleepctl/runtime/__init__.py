"""A command as a process: event loop, signals, streams, logs."""
