"""What it costs to drop the cached reads of many customers: ours, the floor, and what others do.

The same number of values lies in the cache for all: ours as fields of a hash a customer, with its token;
for those who have a key a value, as keys with customer and read in their names. All of it is put there
anew before each measurement, and counted after.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bench.alternate import Side, stopwatch
from orderworks.cache import invalidate
from orderworks.core import keys as names
from orderworks.core.errors import OrderworksError
from orderworks.core.redis import Redis

UNLINK, INVALIDATE = "bare UNLINK of as many keys", "invalidate"
SCAN, KEYS = "one SCAN over all keys", "KEYS a customer"

VALUES_EACH = 10
"""Cached values of a customer."""

SHARE = 10
"""One in so many of the customers is dropped."""

KEYS_ASKED = 3
"""Customers for whom KEYS is measured: for each of them it looks at every key there is."""

PIPELINE_BATCH = 1000
"""Commands in one pipeline, and keys that one step of SCAN looks at."""

DropMethod = Callable[[Redis, Sequence[int]], None]


def invalidation_sides(client: Redis, values: int) -> list[Side]:
    """The ways to drop a tenth of the customers, of all that have so many values together."""
    dropped = range(1, values // VALUES_EACH // SHARE + 1)
    asked = dropped[:KEYS_ASKED]
    hashes, keys = partial(_fill_hashes, client, values), partial(_fill_keys, client, values)
    return [
        Side(UNLINK, len(dropped), partial(_drop, client, hashes, dropped, _by_unlink)),
        Side(INVALIDATE, len(dropped), partial(_drop, client, hashes, dropped, invalidate)),
        Side(SCAN, len(dropped), partial(_drop, client, keys, dropped, _by_scan)),
        Side(KEYS, len(asked), partial(_drop, client, keys, asked, _by_keys)),
    ]


def _drop(
    client: Redis, fill: Callable[[], int], customer_ids: Sequence[int], method: DropMethod
) -> float:
    """Seconds; `fill` says how many keys a customer has."""
    keys_each = fill()
    left = client.dbsize() - keys_each * len(customer_ids)
    with stopwatch() as elapsed:
        method(client, customer_ids)
        seconds = elapsed()
    if client.dbsize() != left:
        raise OrderworksError(f"{left:,} keys should be left, and {client.dbsize():,} are")
    return seconds


def _by_unlink(client: Redis, customer_ids: Sequence[int]) -> None:
    client.unlink(*[names.customer_cache(each) for each in customer_ids])


def _by_scan(client: Redis, customer_ids: Sequence[int]) -> None:
    """Look at every key once, and drop those of these customers."""
    wanted = {str(each).encode() for each in customer_ids}
    keys = client.scan_iter("cache:*", count=PIPELINE_BATCH)
    client.unlink(*[key for key in keys if key.split(b":")[1] in wanted])


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
    """As long as a summary is."""
    return f"{number:0120}"


@contextmanager
def _pipelined(client: Redis) -> Iterator[Callable[..., None]]:
    """Empty the cache; commands are sent in bunches, all of them by the end of the block."""
    client.flushdb()
    with client.pipeline(transaction=False) as pipeline:

        def send(*command: str) -> None:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            if len(pipeline) >= PIPELINE_BATCH:
                pipeline.execute()

        yield send
        pipeline.execute()
