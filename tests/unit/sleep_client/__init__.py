"""Tests of the Python client: its pure core, its thread and its binding, without a socket."""
