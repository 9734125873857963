"""The peer: Restate, whose virtual objects keep a state a key and call themselves later.

Its server comes from npm, its SDK from PyPI, both pinned; neither is a part of our own environment.
"""
