"""The HTTP door: authenticates, authorises, publishes commands and waits for outcomes; never writes state.

Importing this package opens nothing and loads neither Faust nor aiohttp nor `worker`.
"""
