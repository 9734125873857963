"""Every error that a caller sees."""
