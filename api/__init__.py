"""The HTTP door: authenticates, authorises, publishes commands and waits for outcomes; never writes state.

In the order in which a request meets them: `door` (who may come in), `routes`, `publish` (commands and breaker events
onto the log, and their outcomes back), `read` (what Redis holds), `stream` (transitions as they happen). Beside them
`describe` (what callers are told of the API) and `operate` (what operators see). `app` wires it, `serve` runs it.

Importing this package opens nothing and loads neither Faust nor aiohttp nor `worker`.
"""
