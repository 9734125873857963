"""Load by the command line."""
