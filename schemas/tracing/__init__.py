"""Distributed traces: the trace context that an event carries, and the spans that this process exports."""
