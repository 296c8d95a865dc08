"""SQL that several flows need: queries for two drivers, row addresses, transaction numbers."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg

ctid: sa.ColumnElement[object] = sa.literal_column("ctid")
"""The physical address of a row, used as a key in tables without one. An UPDATE changes it."""

THIS_TRANSACTION = sa.text("(pg_current_xact_id()::text)::bigint")
"""The number of this transaction; assigns one if it has none."""

THIS_TRANSACTION_IF_WRITTEN = sa.text("(pg_current_xact_id_if_assigned()::text)::bigint")
"""The number of this transaction; null if it has written nothing yet."""


class Statement:
    """A query for both SQLAlchemy and asyncpg, compiled once.

    Attributes:
        query: for SQLAlchemy, with named parameters.
        text: for asyncpg, with numbered parameters, whose values `arguments` returns.
    """

    def __init__(self, query: sa.Select[*tuple[Any, ...]]) -> None:
        self.query = query
        # The dialect only writes SQL here; the driver itself is not loaded.
        self._compiled = query.compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
        self.text = str(self._compiled)

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values of the parameters in the order of their numbers."""
        named = self._compiled.construct_params(values)
        return [named[name] for name in self._compiled.positiontup or ()]
