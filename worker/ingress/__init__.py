"""Breaker events from ingress topics: limited, normalised and forwarded to the partitions of their tenants."""
