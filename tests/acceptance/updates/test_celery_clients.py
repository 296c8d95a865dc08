"""A client in another language sends a Celery message; its bytes are those that the client wrote."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.redis import make_redis
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from tests.support.oracle import read_orders, read_verdicts, write_orders
from tests.support.processes import ROOT, CeleryProcess, eventually

NODE = ROOT / "tests" / "vectors" / "celery-node-0.5.9.json"
"""Messages of the snippet for celery-node in docs/wire-format.md: orders 42 and 43, versions given."""


@pytest.fixture
def push(settings: Settings, worker: CeleryProcess) -> Callable[[], int]:
    """Push the client's message as it stands; how many messages of this task were served before."""

    def push_message() -> int:
        before = worker.said().count("apply_updates[96bdf9eb-961d-4b78-a372-db3387d1ddd0] succ")
        with make_redis(settings.broker, timeout=5) as broker:
            broker.lpush(Queue.UPDATES.value, NODE.read_bytes().rstrip())
        return before

    return push_message


def test_a_message_of_a_node_client_changes_orders_and_a_second_one_nothing(
    push: Callable[[], int], engine: sa.Engine
) -> None:
    write_orders(engine, {key: (1, "new", Decimal(1), 0) for key in (42, 43)})
    assert push() == 0
    eventually(lambda: read_verdicts(engine)["effective"] == 2, 20, "they are not applied")
    changed = {
        42: (1, "paid", Decimal("19.99"), 7),
        43: (1, 'größer "x"', Decimal("5.25"), 1795690800000),
    }
    assert read_orders(engine) == changed
    assert push() == 1, "the worker served the first one"
    eventually(lambda: read_verdicts(engine)["accepted"] == 4, 20, "the second one is not served")
    assert read_verdicts(engine) == Counter(accepted=4, effective=2, duplicate=2)
    assert read_orders(engine) == changed
