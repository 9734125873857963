"""Runs over many tenants."""
