"""The stack of one benchmark: servers and workers of its own, with generated orders."""

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
from orderworks.core.database import database_address, make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.sessions import SELF_INVALIDATING
from orderworks.core.settings import Settings
from orderworks_app.demo.data import GeneratedFiles, generate
from orderworks_app.embedded.own_services import GATEWAY, MIGRATIONS, WORKERS, worker_name
from orderworks_app.embedded.stack import SERVERS, temporary_stack

TABLES = (
    "orders, customers, change_log, customer_daily, customer_totals, customer_windows, "
    "update_shards"
)

SERVICES = SERVERS | {MIGRATIONS, *map(worker_name, WORKERS)}
"""The services of a stack. Without beat no refresh and no sweep runs during a measurement."""


@dataclass(frozen=True)
class BenchStack:
    """Servers, workers and data of one benchmark.

    Attributes:
        engine: connects as the role of applications, with the product's own settings.
        admin: connects as the superuser, in autocommit mode.
        folder: for files; deleted with the stack.
        sample: the generated orders, as a table and as files.
    """

    settings: Settings
    engine: sa.Engine
    admin: sa.Engine
    folder: Path
    sample: GeneratedFiles

    def without_orders(self) -> None:
        """Reset to all customers without orders, rollups and log; nothing is left to be flushed."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {TABLES} CASCADE"))
        copy(self.settings.database, "customers", self.sample.customers_file)
        self.vacuum_and_checkpoint("customers")

    def with_orders(self) -> None:
        """Reset to all customers and all orders."""
        self.without_orders()
        copy(self.settings.database, "orders", self.sample.orders_file)
        self.vacuum_and_checkpoint("orders")

    def vacuum_and_checkpoint(self, table: str) -> None:
        """Run the maintenance that the server would otherwise run during the next measurement."""
        with self.admin.connect() as connection:
            connection.execute(sa.text(f"VACUUM (ANALYZE) {table}"))
            connection.execute(sa.text("CHECKPOINT"))

    def empty_change_log(self) -> None:
        """Empty the log, as a refresh of the reports would."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE change_log"))

    def transaction(self) -> int:
        """Return the number of a new transaction, as it is in `xmin`."""
        return self._number("SELECT (pg_current_xact_id()::text)::bigint % (2 ^ 32)::bigint")

    def expect_orders(self, count: int) -> None:
        """Check the number of orders.

        Raises:
            OrderworksError: it is not `count`.
        """
        stored = self._number("SELECT count(*) FROM orders")
        if stored != count:
            raise OrderworksError(f"expected {count:,} orders, not {stored:,}")

    def expect_nothing_written(self, since: int) -> None:
        """Check that no order was written by the transaction `since` or a later one.

        Raises:
            OrderworksError: orders were written.
        """
        rows = f"SELECT count(*) FROM orders WHERE xmin::text::bigint >= {since}"  # noqa: S608
        if written := self._number(rows):
            raise OrderworksError(f"expected no write, and {written:,} orders were written")

    def _number(self, query: str) -> int:
        with self.engine.begin() as connection:
            return int(connection.execute(sa.text(query)).scalar_one())


@contextmanager
def open_stack(rows: int, *, gateway: bool = False) -> Iterator[BenchStack]:
    """Yield a stack with workers and `rows` generated orders; delete it with its data at the end."""
    services = SERVICES | {GATEWAY} if gateway else SERVICES
    print_progress(f"starting servers and workers, generating {rows:,} orders … ")
    with (
        _without_settings_of_the_user(),
        temporary_stack(services) as embedded,
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
    """Mark all writers of the database as ones that invalidate cached reads themselves, as sides do.

    So their changes start no refresh in the background.
    """
    database = database_address(settings.database).database
    with admin.connect() as connection:
        for name, value in SELF_INVALIDATING.items():
            connection.execute(sa.text(f"ALTER DATABASE {database} SET {name} = '{value}'"))


@contextmanager
def _without_settings_of_the_user() -> Iterator[None]:
    """Remove the user's settings from the environment.

    So defaults are measured, and no database of the user is emptied. The gateway takes any free port.
    """
    names = {name.upper() for name in Settings.model_fields}
    to_remove = {*names, *(f"{name}_FILE" for name in names)}
    with patch.dict(os.environ):
        for name in to_remove & os.environ.keys():
            del os.environ[name]
        os.environ["GATEWAY_PORT"] = "0"
        yield
