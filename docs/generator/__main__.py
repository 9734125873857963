"""Writes the generated files; with `--check` it changes nothing and fails where one is stale."""

import argparse
import sys
from pathlib import Path

from docs.generator.files import ROOT, stale, write


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check, name the files concerned, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.generator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a file is stale")
    check = parser.parse_args(arguments).check
    concerned = stale(root) if check else write(root)
    if check and concerned:
        sys.stderr.write("stale, run `make generate`:\n" + "".join(f"  {name}\n" for name in concerned))
        return 1
    sys.stdout.write("".join(f"written: {name}\n" for name in concerned))
    return 0


if __name__ == "__main__":
    sys.exit(main())
