"""An application that has packages and modules called as some of ours: `test_wheel.py` runs it.

It prints what it saw as JSON. Nothing of the project's checkout is on its path.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

import sqlalchemy as sa

from orderworks import outbox
from orderworks.cache import Cache, invalidate
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.reads import CustomerReads
from producer import OrderUpdate, Producer


def main() -> None:
    """Use what applications import, and then the application's own packages."""
    with Producer.from_settings() as producer:
        entry = producer.update(OrderUpdate(order_id=1, status="paid"))
    enqueue(OrderUpdate(order_id=2, status="shipped"))
    computed = read_around_invalidation()
    customer = CustomerReads.from_settings().customer(7)
    files = {name: getattr(each, "__file__", None) for name, each in list(sys.modules.items())}
    own = {name: import_module(name).OWNER for name in sys.argv[1:]}
    seen: dict[str, Any] = {
        "entry": entry,
        "computed": computed,
        "customer": customer and customer.name,
        "files": files,
        "own": own,
    }
    sys.stdout.write(json.dumps(seen))


def enqueue(update: OrderUpdate) -> None:
    """Insert a row into the outbox, in a transaction of the application."""
    url = sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO customers (id, name) VALUES (7, 'Ada')"))
        outbox.enqueue(connection, [update])
    engine.dispose()


def read_around_invalidation() -> list[int]:
    """Return the runs of a cached function until its first call, its second, and after invalidation."""
    settings = Settings.load()
    cache = Cache.from_settings(settings)
    runs: list[int] = []

    @cache.per_customer(ttl=60)
    def orders_seen(customer_id: int) -> int:
        runs.append(customer_id)
        return len(runs)

    numbers = [orders_seen(7), orders_seen(7)]
    with make_redis(settings.cache, timeout=5) as client:
        invalidate(client, [7])
    return [*numbers, orders_seen(7)]


if __name__ == "__main__":
    main()
