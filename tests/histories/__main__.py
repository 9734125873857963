"""`python -m tests.histories NAME SEED`: record a new history as `tests/histories/NAME.json`; never overwrites one."""

import sys

from tests.histories.history import HERE, write


def main(arguments: list[str]) -> int:
    """Record, and return the exit status."""
    match arguments:
        case [name, seed] if seed.isdecimal() and name.replace("-", "").isalnum():
            path = HERE / f"{name}.json"
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    try:
        write(path, int(seed))
    except FileExistsError:
        print(f"{path} exists; what was recorded is never changed", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
