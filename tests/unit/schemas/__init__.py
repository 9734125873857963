"""The pure core: every rule of DESIGN section 3 that needs no log, and the formats of section 4."""
