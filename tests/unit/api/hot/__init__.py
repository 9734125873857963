"""The hot requests, and what each is answered: `python -m tests.unit.api.hot` records the answers anew."""
