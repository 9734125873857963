"""Deterministic simulation: whole workers in one thread and a time of its own, with every fault a seed can think of."""
