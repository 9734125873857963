"""Benchmarks: they print what they measured on this machine, and assert nothing about time."""
