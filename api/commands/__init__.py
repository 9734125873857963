"""Commands and breaker events on their way into the log, and their outcomes on the way back."""
