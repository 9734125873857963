"""Queries about tenants, answered from what `api.adapters` reads of them."""
