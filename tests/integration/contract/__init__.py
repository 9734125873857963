"""The OpenAPI document against the running API."""
