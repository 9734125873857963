"""The formats in which breakers report: bytes and headers in, breaker events out. Pure.

`read` is the entrance. It returns breaker events, and counts what is no change of a breaker. Anything else is an
`UndecodableError` that names the format and the field. No format guesses.

Each format has a module: `cloudevents`, `resilience4j`, `opossum`, `gobreaker`, `envoy`, `hystrix` and `alertmanager`.
`settings` says where tenant, breaker and instance are found, and `places` finds them. `parts` reads JSON documents.
`report` is what a format returns.
"""
