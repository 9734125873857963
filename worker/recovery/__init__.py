"""Recovery: rebuilds Redis from the topics, verifies it against them, and redrives dead letters."""
