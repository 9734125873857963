"""Attacks on an installation, each with its bound."""
