"""Clients in other languages, generated from the OpenAPI document that a running API serves."""
