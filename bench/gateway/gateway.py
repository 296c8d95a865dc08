"""The gateway beside what it is a door to.

**A batch** of updates by HTTP is measured beside `update_many`, both into streams that nobody drains.
The one has its lines ready, as a client has that reads them from a file; the other makes and validates
an `OrderUpdate` of each within the time. **A cached read** is told in `hits.py`, **a lookup** of many
customers in `lookups.py`. Whoever asks the gateway does so with a token, as in production.
"""

import http.client
from collections.abc import Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

import msgspec

from bench.alternate import Result, Side, SideFailed, compare, stopwatch
from bench.figures import Figures
from bench.gateway import cached_read, lookups
from bench.stack import BenchStack, open_stack
from bench.updates.streams import undrained
from orderworks_app.gateway.auth.token_store import Scope, create_token
from producer import OrderUpdate, Producer

UPDATE_MANY, BATCH = "update_many", "POST /v1/orders:batch"

GOAL = 0.5
"""Of the rate of `update_many`, at the least."""

RATE = 1_000_000
"""Requests a second that the token may make."""


def run(rows: int, count: int, reads: int, rounds: int) -> Figures:
    """All of it, with so many updates a batch and so many cached reads."""
    with open_stack(rows) as stack:
        stack.with_orders()
        token = _token(stack)
        batches = compare(rounds, *_enqueueing(stack, token, count))
        cached = cached_read.measured(stack, token, reads, rounds)
        many = lookups.measured(stack, token, rounds)
    notes = [compared(batches), cached_read.compared(cached), *lookups.compared(many)]
    return Figures("gateway", [*batches, *cached, *many], notes)


def compared(batches: Sequence[Result]) -> str:
    """How a batch stands to `update_many`."""
    rates = {result.name: result.rate for result in batches}
    ratio = rates[BATCH] / rates[UPDATE_MANY]
    return f"{BATCH} does {ratio:.2f} times {UPDATE_MANY} (goal: {GOAL})"


def _token(stack: BenchStack) -> str:
    """A token whose rate nothing here reaches."""
    with stack.engine.begin() as connection:
        return create_token(connection, "bench", [Scope.READ, Scope.ENQUEUE], RATE)


def _enqueueing(stack: BenchStack, token: str, count: int) -> list[Side]:
    lines = b"".join(each.encode() + b"\n" for each in _updates(count))
    return [
        Side(UPDATE_MANY, count, partial(_update_many, stack, count)),
        Side(BATCH, count, partial(_batch, stack, token, count, lines)),
    ]


def _updates(count: int) -> Iterator[OrderUpdate]:
    for key in range(1, count + 1):
        yield OrderUpdate(order_id=key, total=f"{key % 1000}.99", status="paid")


def _update_many(stack: BenchStack, count: int) -> float:
    with undrained(stack.settings), Producer.from_settings() as producer:
        producer.update(OrderUpdate(order_id=1, status="first"))
        with stopwatch() as elapsed:
            producer.update_many(_updates(count))
            return elapsed()


def _batch(stack: BenchStack, token: str, count: int, lines: bytes) -> float:
    place = urlsplit(str(stack.settings.gateway_url))
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=300)
    with undrained(stack.settings), stopwatch() as elapsed:
        headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/orders:batch", lines, headers)
        answer = msgspec.json.decode(connection.getresponse().read())
        seconds = elapsed()
    connection.close()
    if answer.get("accepted") != count:
        raise SideFailed(f"not all was accepted: {answer}")
    return seconds
