"""The pure core: every rule of specification.md#the-fold that needs no log, and the formats of its records."""
