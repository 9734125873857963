"""The pure core of the reader: what is known of all tenants, and what follows from it at a time.

Time, random numbers, answers and bytes are arguments. Nothing here reads a clock, locks, logs or opens a connection.

- `errors`: what is wrong for a caller, or with a stream.
- `tenant_state`: the state of a tenant, as callers get it.
- `parameters`: sets of parameters, and ramps between them.
- `record`: the public record of a tenant, from JSON.
- `listed`: a listed tenant: its state at a time, and until when it is listed.
- `partitions`: the partition of a tenant.
- `tenants`: all that is known.
- `snapshot`: a snapshot that is being received.
- `sse`: bytes of server-sent events.
- `intake`: what the events of one connection change.
- `log_clock`: the time of the log.
- `token`: when a token ends.
- `answers`: what an answer means for a reader.
- `session`: the status, and the next step of the follower.
"""
