"""The contract between worker, API and command line: documents, layouts, and the pure functions that they share.

`domain`, `wire`, `formats` and the layouts perform no I/O, read no clock and use no framework but pydantic. Worker and
API share a few modules for I/O (clock, tasks, and parts of `redis`, `kafka` and `http`): `tests/unit/test_imports.py`
names them. `metrics` defines what each process exports, and `tracing` makes its spans.
"""
