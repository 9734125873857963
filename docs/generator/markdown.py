"""What the generated pages are written with."""

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    names = list(head)
    return line(names) + "|" + " --- |" * len(names) + "\n" + "".join(map(line, rows))
