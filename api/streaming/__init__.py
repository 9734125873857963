"""Transitions as server-sent events."""
