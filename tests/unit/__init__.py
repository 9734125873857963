"""Tests without a socket and without a sleep."""
