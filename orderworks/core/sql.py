"""Parts of SQL that several flows need: queries for two drivers, row addresses, transaction numbers."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg

ctid: sa.ColumnElement[object] = sa.literal_column("ctid")
"""A row's physical address, which stands for a key in tables without one. An UPDATE changes it."""

THIS_TRANSACTION = sa.text("(pg_current_xact_id()::text)::bigint")
"""The number of this transaction, which gets one if it has none."""

THIS_TRANSACTION_IF_WRITTEN = sa.text("(pg_current_xact_id_if_assigned()::text)::bigint")
"""The number of this transaction; null if it has written nothing yet."""


class Statement:
    """One query, as SQLAlchemy executes it and, compiled once, as asyncpg does.

    Attributes:
        query: with named parameters.
        text: with numbered ones, whose values `arguments` gives.
    """

    def __init__(self, query: sa.Select[*tuple[Any, ...]]) -> None:
        self.query = query
        # The dialect only writes SQL here; the driver itself is not loaded.
        self._compiled = query.compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
        self.text = str(self._compiled)

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of their numbers."""
        named = self._compiled.construct_params(values)
        return [named[name] for name in self._compiled.positiontup or ()]
