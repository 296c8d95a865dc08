"""Common ways of loading a file of orders into the empty table, with keys, index and triggers.

All of them read the file with `csv`, convert the values and insert them, without handling existing or
bad rows. That is less than an import does.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from psycopg2.extras import execute_values
from sqlalchemy.orm import DeclarativeBase, Session

from bench.psql_copy import COLUMNS
from orderworks.core.schema import orders

INSERT = f"INSERT INTO orders ({COLUMNS['orders']}) VALUES"
A_ROW = f"{INSERT} (%s, %s, %s, %s, %s)"
PAGE = 1000


class Base(DeclarativeBase):
    """The base of mapped classes that SQLAlchemy requires."""


class OrmOrder(Base):
    """The mapped class of the table."""

    __table__ = orders


class ImportLoader(NamedTuple):
    """A way of loading a file, measured with one row of `share`, since it is slow."""

    name: str
    share: int
    load: Callable[[sa.Engine, Path], None]


def _transaction_per_row(engine: sa.Engine, file: Path) -> None:
    with _psycopg2(engine) as (connection, cursor):
        for row in _rows(file):
            cursor.execute(A_ROW, row)
            connection.commit()


def _executemany(engine: sa.Engine, file: Path) -> None:
    with _psycopg2(engine) as (connection, cursor):
        cursor.executemany(A_ROW, _rows(file))
        connection.commit()


def _execute_values(engine: sa.Engine, file: Path) -> None:
    with _psycopg2(engine) as (connection, cursor):
        execute_values(cursor, f"{INSERT} %s", _rows(file), page_size=PAGE)
        connection.commit()


def _insertmanyvalues(engine: sa.Engine, file: Path) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(orders), _named_rows(file))


def _orm(engine: sa.Engine, file: Path) -> None:
    with Session(engine) as session, session.begin():
        session.bulk_save_objects([OrmOrder(**row) for row in _named_rows(file)])


LOADERS = (
    ImportLoader("a transaction a row", 50, _transaction_per_row),
    ImportLoader("psycopg2 executemany", 20, _executemany),
    ImportLoader("SQLAlchemy ORM, bulk_save_objects", 10, _orm),
    ImportLoader("SQLAlchemy Core, insertmanyvalues", 10, _insertmanyvalues),
    ImportLoader(f"psycopg2 execute_values, {PAGE} a page", 5, _execute_values),
)


@contextmanager
def _psycopg2(engine: sa.Engine) -> Iterator[tuple[Any, Any]]:
    """Yield a connection of psycopg2 and its cursor."""
    connection = engine.raw_connection()
    try:
        yield connection, connection.cursor()
    finally:
        connection.close()


def _rows(file: Path) -> Iterator[tuple[int, int, Decimal, str, date]]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        for id_, customer_id, total, status, created_at in reader:
            day = date.fromisoformat(created_at)
            yield int(id_), int(customer_id), Decimal(total), status, day


def _named_rows(file: Path) -> list[dict[str, object]]:
    names = COLUMNS["orders"].split(", ")
    return [dict(zip(names, row, strict=True)) for row in _rows(file)]
