"""What the benchmarks run on: a whole stack of its own, and generated orders."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa

from bench.alternate import print_progress
from bench.psql_copy import copy
from orderworks.core.database import SELF_INVALIDATING, database_address, make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.settings import Settings
from orderworks_app.demo.data import GeneratedFiles, generate
from orderworks_app.embedded.stack import temporary_stack

TABLES = (
    "orders, customers, change_log, customer_daily, customer_totals, customer_windows, "
    "update_shards"
)

# Nothing is refreshed or swept while something is measured: all sides have the machine to themselves.
QUIET = {"REPORT_INTERVAL": "86400", "SWEEP_INTERVAL": "86400"}


@dataclass(frozen=True)
class BenchStack:
    """Servers, workers and data of one benchmark.

    Attributes:
        engine: the role that applications use, with the product's own settings.
        admin: the superuser, without a transaction.
        folder: for files; it goes with the stack.
    """

    settings: Settings
    engine: sa.Engine
    admin: sa.Engine
    folder: Path
    sample: GeneratedFiles

    def without_orders(self) -> None:
        """Begin anew: all customers, no order, no rollups, no log; nothing left to be written."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {TABLES} CASCADE"))
        copy(self.settings.database, "customers", self.sample.customers_file)
        self.vacuum_and_checkpoint("customers")

    def with_orders(self) -> None:
        """Begin anew with all customers and all orders."""
        self.without_orders()
        copy(self.settings.database, "orders", self.sample.orders_file)
        self.vacuum_and_checkpoint("orders")

    def vacuum_and_checkpoint(self, table: str) -> None:
        """Do now what the server would else do in the middle of the next measurement."""
        with self.admin.connect() as connection:
            connection.execute(sa.text(f"VACUUM (ANALYZE) {table}"))
            connection.execute(sa.text("CHECKPOINT"))

    def empty_change_log(self) -> None:
        """Empty the log, as a refresh of the reports would."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE change_log"))

    def transaction(self) -> int:
        """The number of a transaction of now."""
        return self._number("SELECT (pg_current_xact_id()::text)::bigint % (2 ^ 32)::bigint")

    def expect_orders(self, count: int) -> None:
        """Make sure that so many orders are there.

        Raises:
            OrderworksError: there are more or fewer.
        """
        found = self._number("SELECT count(*) FROM orders")
        if found != count:
            raise OrderworksError(f"there should be {count:,} orders, and {found:,} are there")

    def expect_nothing_written(self, since: int) -> None:
        """Make sure that no order was written by the transaction `since` or a later one.

        Raises:
            OrderworksError: some were.
        """
        rows = f"SELECT count(*) FROM orders WHERE xmin::text::bigint >= {since}"  # noqa: S608
        if written := self._number(rows):
            raise OrderworksError(f"nothing was to be written, and {written:,} orders were")

    def _number(self, query: str) -> int:
        with self.engine.begin() as connection:
            return int(connection.execute(sa.text(query)).scalar_one())


@contextmanager
def open_stack(rows: int) -> Iterator[BenchStack]:
    """A stack with workers, gone with its data at the end, and `rows` generated orders."""
    print_progress(f"starting servers and workers, generating {rows:,} orders … ")
    with (
        patch.dict(os.environ, QUIET),
        _without_settings_of_the_user(),
        temporary_stack() as embedded,
        patch.dict(os.environ, embedded.environment, ORDERWORKS_HOME=str(embedded.home)),
        tempfile.TemporaryDirectory(prefix="orderworks-bench-") as folder,
    ):
        sample = generate(Path(folder), rows)
        print_progress("done\n")
        settings = Settings.load()
        engine = make_engine(settings, "orderworks-bench")
        admin = sa.create_engine(
            database_address(str(embedded.admin_url)), isolation_level="AUTOCOMMIT"
        )
        _invalidate_themselves(admin, settings)
        yield BenchStack(settings, engine, admin, Path(folder), sample)
        engine.dispose()
        admin.dispose()


def _invalidate_themselves(admin: sa.Engine, settings: Settings) -> None:
    """Take all sides for ones that drop cached reads themselves, as they do.

    So nothing is refreshed for them in the background.
    """
    database = database_address(settings.database).database
    with admin.connect() as connection:
        for name, value in SELF_INVALIDATING.items():
            connection.execute(sa.text(f"ALTER DATABASE {database} SET {name} = '{value}'"))


@contextmanager
def _without_settings_of_the_user() -> Iterator[None]:
    """The environment with our defaults: no other database is emptied, and no other setting measured."""
    names = {name.upper() for name in Settings.model_fields}
    ours = {*names, *(f"{name}_FILE" for name in names)} - QUIET.keys()
    with patch.dict(os.environ):
        for name in ours & os.environ.keys():
            del os.environ[name]
        yield
