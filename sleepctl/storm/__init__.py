"""Load: breaker events of tenants of its own, at a rate and in a mix."""
