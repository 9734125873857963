"""The domain: states, claims, policies and the pure functions that decide."""
