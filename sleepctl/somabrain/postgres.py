"""Reads the table from PostgreSQL, in one transaction that can write nothing. Needs the extra `postgres`."""

import re
from typing import Any, Final

from sleepctl.somabrain.table import COLUMNS, Row, Table, require_columns
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

TABLE: Final = "tenant_sleep_states"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_CONNECT_SECONDS: Final = 10
_STATEMENT_MS: Final = 60_000
_PAGE: Final = 2_000
_SHOWN: Final = ("service", "host", "hostaddr", "port", "dbname", "user")
_EXPORT: Final = (
    f"export the table instead, by `psql -c \"\\copy {TABLE} to 'states.csv' csv header\"`, and give the file"
)


def table_in_postgres(dsn: str, table: str = TABLE) -> Table:
    """Return the table in a database. Its texts are those of PostgreSQL in UTC.

    Args:
        dsn: a URL or key=value pairs. What it does not say comes from libpq's `PG…` variables and password file.
        table: the name, with or without a schema.

    Raises:
        CommandError: if the table cannot be read. The text has no password, and nothing of a DSN that cannot be parsed.
    """
    parts, source = _parts_of(dsn), source_of_dsn(dsn, table)
    import psycopg  # noqa: PLC0415 - an extra

    try:
        with psycopg.connect(
            dsn, connect_timeout=int(parts.get("connect_timeout") or _CONNECT_SECONDS), client_encoding="UTF8"
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return Table(source, "row", _rows(connection, source, table), [])
    except (psycopg.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{source}: {_safe(error, parts.get('password'))}; nothing was sent") from None


def _rows(connection: Any, source: str, table: str) -> list[Row]:  # noqa: ANN401 - psycopg is an extra
    from psycopg import sql  # noqa: PLC0415 - an extra

    named = sql.Identifier(*table.split("."))
    connection.execute(f"SET statement_timeout = {_STATEMENT_MS}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET DateStyle = 'ISO'")
    first = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(named))
    names = [column.name for column in first.description or ()]
    require_columns(source, names)
    columns = [name for name in COLUMNS if name in names]
    # As texts, since a time such as `infinity` has no value in Python; it is to break its own row only.
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
    query = sql.SQL("SELECT {} FROM {} ORDER BY tenant_id").format(texts, named)
    rows: list[Row] = []
    with connection.cursor(name="tenants") as cursor:
        cursor.itersize = _PAGE
        for values in cursor.execute(query):
            rows.append(Row(len(rows) + 1, dict(zip(columns, values, strict=True))))
    return rows


def source_of_dsn(dsn: str, table: str) -> str:
    """Return what is shown of a DSN and a table: where they lead, and never a password.

    Raises:
        CommandError: if the extra is not installed, or one of the two is wrong; exit status 2.
    """
    if _NAME.fullmatch(table) is None:
        raise CommandError("--table: it must be a name, or a schema and a name with a dot between", WRONG_SETTINGS)
    parts = _parts_of(dsn)
    return " ".join(["postgresql", *(f"{name}={parts[name]}" for name in _SHOWN if parts.get(name)), f"table={table}"])


def _parts_of(dsn: str) -> dict[str, Any]:
    try:
        from psycopg import Error  # noqa: PLC0415 - an extra
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - as above
    except ImportError:
        raise CommandError(
            f"--dsn needs the extra `postgres` (pip install 'somabrain-sleep[postgres]'); or {_EXPORT}", WRONG_SETTINGS
        ) from None
    try:
        parts = dict(conninfo_to_dict(dsn))
        int(parts.get("connect_timeout") or _CONNECT_SECONDS)
    except ValueError:
        raise CommandError("--dsn: connect_timeout must be a whole number of seconds", WRONG_SETTINGS) from None
    except Error:
        # The error's own text quotes the DSN.
        raise CommandError(
            "--dsn: it is neither a URL (postgresql://user@host:5432/database) nor key=value pairs "
            "(host=db dbname=somabrain user=reader)",
            WRONG_SETTINGS,
        ) from None
    return parts


def _safe(error: Exception, password: object) -> str:
    text = " ".join(str(error).split())
    return text.replace(str(password), "***") if password else text
