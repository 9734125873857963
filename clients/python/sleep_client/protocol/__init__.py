"""What emitter and reader share about the server: its answers, valid names, waits, and lines for the log. Pure.

- `answer`: an answer over HTTP, and what is readable in it.
- `names`: the names of tenants.
- `notice`: a line for the log.
- `waits`: how long to wait before the next attempt.
"""
