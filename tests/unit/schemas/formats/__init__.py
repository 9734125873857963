"""Unit tests of the formats in which breakers report."""
