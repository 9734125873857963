"""The pure core of the emitter: what is sent, when, and what an answer means.

Time, random numbers and answers are arguments. Nothing here reads a clock, locks, logs or opens a connection.

- `report`: a valid report of a breaker, and the reasons for which one is dropped.
- `outbox`: the last state of each breaker and instance; batches, repeats and releases.
- `events`: a batch as CloudEvents.
- `server_time`: the time of the server, from the `Date` of its answers.
- `answers`: what an answer means for a batch.
- `session`: the status of the connection; the next step of the thread.
"""
