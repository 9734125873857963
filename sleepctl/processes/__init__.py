"""Several processes of one command: a parent that starts, watches and stops its children, and speaks for them.

`parent` and `slot` decide, `child` is the other side, and `channel` is between them. `pages` and `metrics` make one
page of several.
"""
