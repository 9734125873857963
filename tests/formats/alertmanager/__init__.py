"""Webhooks of a real Alertmanager."""
