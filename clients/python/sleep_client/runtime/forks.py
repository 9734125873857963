"""What notices a fork: the child has none of its parent's threads and connections."""

import os
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

Watched = TypeVar("Watched")
_WATCHED: Final[weakref.WeakKeyDictionary[object, Callable[[Any], None]]] = weakref.WeakKeyDictionary()


def watch(watched: Watched, change: Callable[[Watched], None]) -> None:
    """Change an object in the child of each fork, while the object exists."""
    _WATCHED[watched] = change


def _after_fork() -> None:
    for watched, change in list(_WATCHED.items()):
        change(watched)


# One hook for all, since none can be removed.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
