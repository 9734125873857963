"""The HTTP API: authenticates and authorises callers, publishes commands and waits for outcomes. It writes no state.

A request passes `http` (middleware, headers, bodies), `security` (token, policy, limits) and a route of `routes`. The
route calls `commands` (onto the log, and their outcomes back), `queries` (what is known of tenants), `streaming`
(transitions as they happen), `states` (the states of all tenants) or `topic_pages` (what is in a topic, backward).
`adapters` speak to Kafka and Redis. `errors` and `openapi` describe the API to callers; `observability` shows its
health to operators. `console` has the page for a browser. `app` wires all of it, and `serve` runs it.

Importing this package opens no connection and loads neither Faust nor aiohttp nor `worker`.
"""
