"""Recorded logs with what they were folded into, which every later release must reproduce."""
