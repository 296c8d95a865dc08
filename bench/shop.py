"""What the benchmarks run on: a whole stack of its own, and generated orders."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa

from orders.database import make_engine
from orders.settings import Settings
from orderworks.demo.data import Sample, generate
from orderworks.embedded.stack import temporary_stack

TABLES = "orders, customers, customer_changes, customer_daily, customer_totals, update_shards"


@dataclass(frozen=True)
class Shop:
    """Servers, workers and data of one benchmark."""

    settings: Settings
    engine: sa.Engine
    sample: Sample

    def empty(self) -> None:
        """Begin anew: no rows, no rollups, no log."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {TABLES} CASCADE"))

    def copy(self, file: Path, statement: str) -> None:
        """COPY a file from here, as psql does."""
        connection = self.engine.raw_connection()
        try:
            with closing(connection.cursor()) as cursor, file.open("rb") as data:
                cursor.copy_expert(statement, data)
            connection.commit()
        finally:
            connection.close()

    def copy_customers(self) -> None:
        """All customers, at COPY's speed."""
        self.copy(
            self.sample.customers_file,
            "COPY customers (id, name, phone, email) FROM STDIN (FORMAT csv, HEADER)",
        )

    def copy_orders(self) -> None:
        """All orders, at COPY's speed, with triggers, keys and indexes as in production."""
        self.copy(
            self.sample.orders_file,
            "COPY orders (id, customer_id, total, status, created_at) "
            "FROM STDIN (FORMAT csv, HEADER)",
        )


@contextmanager
def open_shop(rows: int) -> Iterator[Shop]:
    """A stack with workers, gone with its data at the end, and `rows` generated orders."""
    # Beat stays quiet while something is measured: both sides have the machine to themselves.
    quiet = {"REPORT_INTERVAL": "3600", "SWEEP_INTERVAL": "3600"}
    with (
        patch.dict(os.environ, quiet),
        temporary_stack() as stack,
        patch.dict(os.environ, stack.environment, ORDERWORKS_HOME=str(stack.home)),
        tempfile.TemporaryDirectory() as folder,
    ):
        settings = Settings.load()
        engine = make_engine(settings, "orderworks-bench")
        yield Shop(settings, engine, generate(Path(folder), rows))
        engine.dispose()
