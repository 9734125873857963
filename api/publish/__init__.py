"""How commands and breaker events get onto the log, and how their outcomes come back."""
