"""Invalidation of many customers' cached reads: by `invalidate`, by bare UNLINK, and by key patterns.

The cache has the same number of values for all sides: for `invalidate` and UNLINK as fields of one hash
per customer, with its token; for SCAN and KEYS as one key per value, named by customer and read. The
cache is filled before each measurement, and its keys are counted after it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bench.alternate import Side, stopwatch
from orderworks.cache import invalidate
from orderworks.core import keys as names
from orderworks.core.errors import OrderworksError
from orderworks.core.redis import Redis

UNLINK, INVALIDATE = "bare UNLINK of the same keys", "invalidate"
SCAN, KEYS = "one SCAN over all keys", "KEYS a customer"

VALUES_EACH = 10
"""Cached values of a customer."""

SHARE = 10
"""One customer of this number is invalidated."""

KEYS_CUSTOMERS = 3
"""Customers for which KEYS is measured: it reads all keys for each of them."""

PIPELINE_BATCH = 1000
"""Commands in one pipeline, and keys that one step of SCAN reads."""

InvalidationMethod = Callable[[Redis, Sequence[int]], None]


def invalidation_sides(client: Redis, values: int) -> list[Side]:
    """Return the sides, which invalidate a tenth of the customers; all have `values` values together."""
    chosen = range(1, values // VALUES_EACH // SHARE + 1)
    few = chosen[:KEYS_CUSTOMERS]
    hashes, keys = partial(_fill_hashes, client, values), partial(_fill_keys, client, values)
    return [
        Side(UNLINK, len(chosen), partial(_measure, client, hashes, chosen, _by_unlink)),
        Side(INVALIDATE, len(chosen), partial(_measure, client, hashes, chosen, invalidate)),
        Side(SCAN, len(chosen), partial(_measure, client, keys, chosen, _by_scan)),
        Side(KEYS, len(few), partial(_measure, client, keys, few, _by_keys)),
    ]


def _measure(
    client: Redis, fill: Callable[[], int], customer_ids: Sequence[int], method: InvalidationMethod
) -> float:
    """Return the seconds of a method; `fill` returns the number of keys per customer."""
    keys_each = fill()
    expected = client.dbsize() - keys_each * len(customer_ids)
    with stopwatch() as elapsed:
        method(client, customer_ids)
        seconds = elapsed()
    if client.dbsize() != expected:
        raise OrderworksError(f"expected {expected:,} remaining keys, not {client.dbsize():,}")
    return seconds


def _by_unlink(client: Redis, customer_ids: Sequence[int]) -> None:
    client.unlink(*[names.customer_cache(each) for each in customer_ids])


def _by_scan(client: Redis, customer_ids: Sequence[int]) -> None:
    """Read every key once, and delete those of these customers."""
    chosen = {str(each).encode() for each in customer_ids}
    keys = client.scan_iter("cache:*", count=PIPELINE_BATCH)
    client.unlink(*[key for key in keys if key.split(b":")[1] in chosen])


def _by_keys(client: Redis, customer_ids: Sequence[int]) -> None:
    for customer_id in customer_ids:
        client.unlink(*client.keys(f"cache:{customer_id}:*"))


def _fill_hashes(client: Redis, values: int) -> int:
    fields = [part for number in range(VALUES_EACH) for part in (f"read({number})", _value(number))]
    with _pipelined(client) as send:
        for customer_id in range(1, values // VALUES_EACH + 1):
            send("HSET", names.customer_cache(customer_id), "token", "bench", *fields)
    return 1


def _fill_keys(client: Redis, values: int) -> int:
    with _pipelined(client) as send:
        for customer_id in range(1, values // VALUES_EACH + 1):
            for number in range(VALUES_EACH):
                send("SET", f"cache:{customer_id}:read({number})", _value(number))
    return VALUES_EACH


def _value(number: int) -> str:
    """Return a value as long as a customer's summary."""
    return f"{number:0120}"


@contextmanager
def _pipelined(client: Redis) -> Iterator[Callable[..., None]]:
    """Empty the cache; yield a function that sends commands in batches, the last at the block's end."""
    client.flushdb()
    with client.pipeline(transaction=False) as pipeline:

        def send(*command: str) -> None:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            if len(pipeline) >= PIPELINE_BATCH:
                pipeline.execute()

        yield send
        pipeline.execute()
