"""What touches the machine: the clock, threads, connections, the log and the environment.

- `address`: the URL and the token that a caller gives.
- `clock`: a monotonic clock that counts while the machine is suspended.
- `log`: the logger, and the token that no line may have.
- `http`: one request over httpx.
- `courier`: the thread of an emitter, which does what the core decides.
- `stream`: one stream of events over httpx.
- `tokens`: the function of the caller that returns tokens.
- `follower`: the tasks of a reader, which do what the core decides.
- `forks`: what notices a fork.
"""
