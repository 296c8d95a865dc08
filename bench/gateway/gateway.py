"""The benchmark of the gateway: batches of updates, cached reads, lookups.

**A batch** of updates by HTTP is compared with `update_many`, both into streams that are not drained.
The lines of the batch are encoded before, as those of a file are; `update_many` includes the creation
and validation of each `OrderUpdate`. **A cached read** is in `cached_read.py`, **a lookup** of many
customers in `lookups.py`. All requests have a token, as in production.
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
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token
from producer import OrderUpdate, Producer

UPDATE_MANY, BATCH = "update_many", "POST /v1/orders:batch"

GOAL = 0.5
"""Minimum rate of a batch, as a share of that of `update_many`."""

RATE = 1_000_000
"""Requests a second that the token allows: more than any side sends."""


def run(rows: int, count: int, reads: int, rounds: int) -> Figures:
    """Measure batches of `count` updates, `reads` cached reads, and lookups."""
    with open_stack(rows, gateway=True) as stack:
        return run_on(stack, count, reads, rounds)


def run_on(stack: BenchStack, count: int, reads: int, rounds: int) -> Figures:
    """Do the same on a stack that has a gateway."""
    stack.with_orders()
    token = _token(stack)
    batches = compare(rounds, *_enqueueing(stack, token, count))
    cached = cached_read.measured(stack, token, reads, rounds)
    many = lookups.measured(stack, token, rounds)
    notes = [comparison(batches), cached_read.comparison(cached), *lookups.comparisons(many)]
    return Figures("gateway", [*batches, *cached, *many], notes)


def comparison(batches: Sequence[Result]) -> str:
    """Return a note with the rate of a batch relative to that of `update_many`."""
    rates = {result.name: result.rate for result in batches}
    ratio = rates[BATCH] / rates[UPDATE_MANY]
    return f"{BATCH} does {ratio:.2f} times {UPDATE_MANY} (goal: {GOAL})"


def _token(stack: BenchStack) -> str:
    """Create a token with a rate limit that no side reaches."""
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
    url = urlsplit(str(stack.settings.gateway_url))
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=300)
    with undrained(stack.settings), stopwatch() as elapsed:
        headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/orders:batch", lines, headers)
        response = msgspec.json.decode(connection.getresponse().read())
        seconds = elapsed()
    connection.close()
    if response.get("accepted") != count:
        raise SideFailed(f"not all updates were accepted: {response}")
    return seconds
