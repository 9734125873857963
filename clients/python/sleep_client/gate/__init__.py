"""`sleep-gate`: a process beside a proxy, which asks it whether a request may pass. It needs an extra of the same name.

- `settings`: the environment variables, checked at the start.
- `checking`: the answer to a proxy.
- `ofrep`: the answers to clients of OpenFeature.
- `answer`: an answer, as all of these give it.
- `metrics`: what is counted.
- `app`: the ASGI application: which path is answered by what.
- `connection`: a connection, which must send its requests in time.
- `serving`: the server of the process, and its reader.
"""
