"""Fault tests: dependencies go away and come back, processes are killed."""
