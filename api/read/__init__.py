"""What Redis holds, for people to read."""
