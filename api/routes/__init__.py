"""The endpoints: each parses, asks one thing, and answers; none decides."""
