"""The curl examples of the gateway's documentation, run line by line."""

from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from tests.support.doc_blocks import run_blocks
from tests.support.gateways import running_gateway
from tests.support.processes import CeleryProcess, eventually


def test_commands_in_gateway_documentation_give_documented_results(
    settings: Settings, engine: sa.Engine, worker: CeleryProcess, tmp_path: Path
) -> None:
    assert worker.process.poll() is None
    empty(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=7, name="Seven"))
    with running_gateway(settings) as address:
        run_blocks("docs/gateway.md", address, tmp_path)
    expected = [(42, "sent", Decimal("19.99")), (43, "new", Decimal("5.00"))]
    eventually(lambda: read_orders(engine) == expected, within=30)


def test_commands_in_gateway_reads_documentation_give_documented_results(
    settings: Settings, engine: sa.Engine, worker: CeleryProcess, tmp_path: Path
) -> None:
    assert worker.process.poll() is None
    empty(engine)
    with running_gateway(settings) as address:
        run_blocks("docs/gateway-reads.md", address, tmp_path)
    assert read_orders(engine) == [(42, "new", Decimal("19.99")), (43, "new", Decimal("5.00"))]


def empty(engine: sa.Engine) -> None:
    """Delete the rows of the other document's examples: the tests of a module share a database."""
    with engine.begin() as connection:
        connection.execute(sa.delete(orders))
        connection.execute(sa.delete(customers))


def read_orders(engine: sa.Engine) -> list[tuple[int, str, Decimal]]:
    """All orders."""
    query = sa.select(*orders.c["id", "status", "total"]).order_by(orders.c.id)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]
