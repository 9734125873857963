"""Transitions as they happen, as server-sent events."""
