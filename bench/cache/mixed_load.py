"""A mixed load as of a web shop: most operations are reads, and few customers are read often.

The customers that are read or whose orders are updated follow one Zipf distribution. The stack's own
worker applies the updates and invalidates the cached reads before the next reads start.
"""

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import accumulate, islice

import sqlalchemy as sa

from bench.stack import BenchStack
from bench.updates.streams import is_empty
from orderworks.cache import Cache
from orderworks.core.database import make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.redis import make_redis
from orderworks.reads import CustomerReads
from orderworks.updates.stream import UpdateStream
from producer import OrderUpdate, Producer

VISITORS = 10_000
"""Number of customers that are read."""

ZIPF = 1.0
"""The exponent: the second customer is read half as often as the first."""

TURN, UPDATES = 200, 10
"""Operations of one turn, and the updates among them: 5 %."""

TIMEOUT = 60
"""Seconds after which the worker is taken to be stuck."""


class MixedLoad:
    """The same reads and updates in every run.

    Attributes:
        reads: the number of reads.
    """

    def __init__(self, stack: BenchStack, count: int) -> None:
        """`count`: reads and updates together."""
        self._stack = stack
        pairs = stack.sample.orders.select("customer_id", "id").iter_rows()
        self._order_of = dict(islice(dict(pairs).items(), VISITORS))
        self._turns = list(_random_turns([*self._order_of], max(1, count // TURN)))
        self.reads = len(self._turns) * (TURN - UPDATES)

    def queries(self, cache_url: str) -> int:
        """Return the queries of the reads that reach PostgreSQL, after each customer was read once."""
        settings = self._stack.settings
        engine = make_engine(settings, "orderworks-bench-reads")
        with (
            closing(Cache(cache_url, settings.cache_timeout)) as cache,
            _updates(self._stack) as apply,
        ):
            reads = CustomerReads(engine, cache, settings.cache_ttl)
            for customer_id in self._order_of:
                reads.customer_summary(customer_id)
            with _counted(engine) as queries:
                for customer_ids in self._turns:
                    apply([self._order_of[each] for each in customer_ids[:UPDATES]])
                    for customer_id in customer_ids[UPDATES:]:
                        reads.customer_summary(customer_id)
        engine.dispose()
        return len(queries)


def _random_turns(customer_ids: list[int], turns: int) -> Iterator[list[int]]:
    dice = random.Random(turns)  # noqa: S311 - the same in every run
    weights = list(accumulate(rank**-ZIPF for rank in range(1, len(customer_ids) + 1)))
    for _turn in range(turns):
        yield dice.choices(customer_ids, cum_weights=weights, k=TURN)


class UpdateApplier:
    """Enqueues updates of orders, and waits until the worker has applied them."""

    def __init__(self, producer: Producer, stream: UpdateStream) -> None:
        self._producer = producer
        self._stream = stream
        self._total = 0

    def __call__(self, order_ids: list[int]) -> None:
        """Change the total of each order; return after its customer's reads are invalidated."""
        self._total += 1
        updates = [OrderUpdate(order_id=each, total=self._total) for each in order_ids]
        self._producer.update_many(updates)
        deadline = time.monotonic() + TIMEOUT
        while not is_empty(self._stream):
            if time.monotonic() > deadline:
                raise OrderworksError(f"updates are not applied within {TIMEOUT} s")
            time.sleep(0.001)


@contextmanager
def _updates(stack: BenchStack) -> Iterator[UpdateApplier]:
    settings = stack.settings
    with make_redis(settings.stream, 5) as client, Producer.from_settings() as producer:
        yield UpdateApplier(
            producer, UpdateStream(client, settings.update_shards, settings.stream_limit)
        )


@contextmanager
def _counted(engine: sa.Engine) -> Iterator[list[str]]:
    """Yield the list of statements that are sent during the block."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)
