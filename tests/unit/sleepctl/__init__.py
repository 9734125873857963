"""The command line, without a socket."""
