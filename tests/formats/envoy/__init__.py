"""Outlier detection events of a real Envoy."""
