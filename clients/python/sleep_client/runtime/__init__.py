"""What touches the machine: the clock, the thread, connections and the environment.

- `address`: the URL and the token that a caller gives.
- `clock`: a monotonic clock that counts while the machine is suspended.
- `http`: one request over httpx.
- `courier`: the thread that does what the core decides.
"""
