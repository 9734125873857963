"""Builds the site into `build/site`; fails for a warning, a broken link or anchor, or a page without a place."""

import argparse
import sys
from pathlib import Path
from typing import Final

from docs.site.build import build
from docs.site.pages import ROOT, SiteError

_FOLDER: Final = ROOT / "build" / "site"


def main(arguments: list[str] | None = None) -> int:
    """Build the site and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description=__doc__)
    parser.add_argument("--into", type=Path, default=_FOLDER, help="the folder of the site; what it holds is replaced")
    folder = parser.parse_args(arguments).into
    try:
        count = build(folder)
    except SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{count} pages: {folder / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
