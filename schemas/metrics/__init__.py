"""The metrics of all processes, each defined once: `definition` has the kinds, `catalog` lists what there is.

`api` and `worker` have the metrics of these processes, and `parent` those of a command with several of them.
"""
