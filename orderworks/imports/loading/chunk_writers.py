"""Finds the chunk that wrote a row: of rows with one id and one version, the last of the file counts.

Chunks are loaded in any order, and a version alone does not show which of two such rows comes later.
But PostgreSQL stores with each row its writer, `xmin`: the savepoint that the chunk's rows were written
in. A row of `import_writers` that is written in the same one has the same `xmin`, and the chunk's
position.
"""

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.selectable import NamedFromClause

from orderworks.core.schema import import_writers


class FilePosition(NamedTuple):
    """An import, and the line that the rows of a chunk begin on."""

    import_id: str
    first_line: int


def record_writer(connection: sa.Connection, position: FilePosition) -> None:
    """Record that the rows written since the last savepoint are of this chunk."""
    connection.execute(sa.insert(import_writers).values(position._asdict()))


def written_by_earlier_line(position: FilePosition, table: sa.Table) -> sa.ColumnElement[bool]:
    """True if the table's row has no value from behind this position in the same file.

    False also of a row that another session has written since the statement began: its position is not
    visible yet. A second statement sees it.
    """
    by_later_chunk = sa.exists().where(
        import_writers.c.import_id == position.import_id,
        import_writers.c.first_line > position.first_line,
        _xmin(import_writers) == _xmin(table),
    )
    seen = table.alias("seen")
    seen_writer = sa.select(_xmin(seen)).where(seen.c.id == table.c.id).scalar_subquery()
    return ~by_later_chunk & (_xmin(table) == seen_writer)


def _xmin(table: NamedFromClause[Any]) -> sa.ColumnElement[object]:
    """A system column, of which Core does not know."""
    return sa.literal_column(f"{table.name}.xmin")
