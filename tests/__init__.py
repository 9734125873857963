"""Proof: unit, integration, acceptance, faults, simulation, benchmarks."""
