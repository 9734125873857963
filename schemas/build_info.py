"""The build that runs, for `/version`."""

import json
import platform
from importlib.metadata import distribution
from typing import Any, Final

DISTRIBUTION: Final = "somabrain-sleep"


def version() -> str:
    """Return the installed package's version."""
    return distribution(DISTRIBUTION).version


def build() -> dict[str, str]:
    """Return `version`, `python` and `build`: what the package was installed from.

    The installer records the source (PEP 610): a commit, an archive's hash, `source` for a checkout, or `index` for a
    package that was installed by its version.
    """
    noted = distribution(DISTRIBUTION).read_text("direct_url.json")
    return {"version": version(), "python": platform.python_version(), "build": _source(noted)}


def _source(noted: str | None) -> str:
    if noted is None:
        return "index"
    origin: dict[str, Any] = json.loads(noted)
    if "vcs_info" in origin:
        return str(origin["vcs_info"]["commit_id"])
    if "archive_info" in origin:
        return str(origin["archive_info"].get("hash", "archive"))
    return "source"
