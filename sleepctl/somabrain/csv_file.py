"""Reads the table from a CSV file with a header, as the command `copy … csv header` of psql writes it."""

import csv
from io import StringIO
from pathlib import Path
from typing import Final

from sleepctl.mass.targets import text_of
from sleepctl.somabrain.table import Broken, Row, Table, require_columns

_LONGEST_FIELD: Final = 1 << 20


def table_in_csv(file: Path) -> Table:
    """Return the table in a CSV file. An empty field is NULL.

    Raises:
        CommandError: if the file cannot be read, is not UTF-8, or lacks a column; exit status 2 for the last two.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(StringIO(text_of(file), newline=""), strict=True)
    source, rows, broken = str(file), list[Row](), list[Broken]()
    names: list[str] | None = None
    number = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            problem = f"no CSV: {error}; the rows from line {number} to line {reader.line_num} cannot be told apart"
            broken.append(Broken(number, None, "the line", problem))
        else:
            if fields is None:
                break
            if names is None:
                names = [name.strip().lower() for name in fields]
                require_columns(source, names)
            elif len(fields) == len(names):
                rows.append(Row(number, {name: value or None for name, value in zip(names, fields, strict=True)}))
            elif fields:
                problem = f"it has {len(fields)} fields, and the header has {len(names)}"
                broken.append(Broken(number, None, "the line", problem))
        number = reader.line_num + 1
    if names is None:
        require_columns(source, [])
    return Table(source, "line", rows, broken)
