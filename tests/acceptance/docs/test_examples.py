"""The examples of the documents, run as a reader runs them after the demo."""

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from orderworks_app.demo.data import generate
from orderworks_app.embedded.own_services import BEAT, FLOWER, GATEWAY, WORKERS, worker_name
from orderworks_app.embedded.plan import SERVERS
from tests.support.doc_blocks import PAGES, blocks_of, is_run, run_blocks
from tests.support.processes import ROOT, eventually
from tests.support.stack_process import StackProcess, bare_environment, new_home, up

pytestmark = pytest.mark.timeout(600)

SERVICES = SERVERS | {BEAT, FLOWER, GATEWAY, *map(worker_name, WORKERS)}

ORDERS = 2000
"""Orders of the demo: each page uses only some of the first ones."""

RESULTS = {
    "docs/gateway.md": {42: ("sent", Decimal("19.99")), 43: ("new", Decimal("5.00"))},
    "docs/gateway-reads.md": {
        1000042: ("new", Decimal("19.99")),
        1000043: ("new", Decimal("5.00")),
    },
}
"""Status and total, in the end, of each order that the examples of a page write."""

RUN = [page for page in PAGES if any(is_run(page, block) for block in blocks_of(page))]


@pytest.fixture(scope="module")
def demo_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A complete `orderworks up` with the demo's customers and orders."""
    with new_home() as home, up(home, parts=None) as stack:
        stack.wait_until_up(SERVICES, 90)
        sample = generate(tmp_path_factory.mktemp("demo"), ORDERS)
        for file, kind in ((sample.customers_file, "customers"), (sample.orders_file, "orders")):
            orderworks(home, "import", str(file), "--kind", kind, "--follow")
        yield stack
        assert stack.stop() == 0, stack.said()


def orderworks(home: Path, *arguments: str) -> None:
    """Run a command for the stack of a home."""
    command = [sys.executable, "-m", "orderworks_app", *arguments]
    subprocess.run(command, cwd=ROOT, env=bare_environment(home), check=True, timeout=120)


def execute(stack: StackProcess, statement: str) -> list[tuple[Any, ...]]:
    """Execute a statement in the database of a stack, and return its rows."""
    connection = psycopg2.connect(stack.environment()["DATABASE_URL"])
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def open_stack(demo_stack: StackProcess) -> StackProcess:
    """The same, without tokens: its gateway is open to every client on this machine."""
    execute(demo_stack, "DELETE FROM api_tokens")
    url = f"{demo_stack.environment()['GATEWAY_URL']}/v1/customers/7"
    eventually(lambda: httpx.get(url, timeout=10).status_code == 200, 30)
    return demo_stack


def orders(stack: StackProcess, ids: Collection[int]) -> dict[int, tuple[str, Decimal]]:
    """Status and total of these orders, by id."""
    rows = execute(stack, "SELECT id, status, total FROM orders")
    return {order_id: (status, total) for order_id, status, total in rows if order_id in ids}


@pytest.mark.parametrize("page", RUN)
def test_examples_of_a_page_run_on_the_data_of_the_demo_and_can_be_repeated(
    open_stack: StackProcess, page: str, tmp_path: Path
) -> None:
    results = RESULTS.get(page, {})
    for _attempt in range(2):
        run_blocks(page, bare_environment(open_stack.home), tmp_path)
        eventually(lambda: orders(open_stack, results) == results, 30, "the results differ")


def test_every_block_has_a_language_that_is_run_or_known() -> None:
    languages = {block.language for page in PAGES for block in blocks_of(page)}
    assert languages <= {"sh", "python", "sql", "js", "json", "toml", ""}
