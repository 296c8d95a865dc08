"""Copies a table of polars into a table of PostgreSQL, by COPY."""

from io import BytesIO
from typing import Any, cast

import polars as pl
import psycopg2
import sqlalchemy as sa

from orderworks.core.database import is_read_only


def as_array(ids: pl.Series) -> sa.Cast[Any]:
    """Whole numbers as an array. Sent as one text, they take a third of the time of a list."""
    text = ids.cast(pl.String).str.join(",").item()
    return sa.cast(sa.literal("{" + text + "}", sa.Text), sa.ARRAY(sa.BigInteger))


def copy_rows(connection: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    """Append the rows within the caller's transaction; their columns are the table's, by name.

    Raises:
        sqlalchemy.exc.DBAPIError: as any other statement would.
    """
    content = BytesIO()
    rows.write_csv(content, include_header=False)
    content.seek(0)
    preparer = connection.dialect.identifier_preparer
    columns = ", ".join(preparer.quote(name) for name in rows.columns)
    # Core cannot express COPY from the driver's own stream. An empty cell without quotes is
    # NULL; no value here is the empty text.
    statement = f"COPY {preparer.format_table(table)} ({columns}) FROM STDIN (FORMAT csv)"
    _copy(connection, statement, content)


def _copy(connection: sa.Connection, statement: str, content: BytesIO) -> None:
    """Run it without SQLAlchemy, and raise SQLAlchemy's errors, so that retries recognize them."""
    driver = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor:
            cursor.copy_expert(statement, content)
    except psycopg2.Error as error:
        lost = bool(driver.closed) or is_read_only(error)
        if lost:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            statement,
            None,
            error,
            psycopg2.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error
