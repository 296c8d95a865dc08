"""Many customers: a lookup through the gateway, and reads of one customer each.

All sides return the same data, which is compared: the customer, and number, sum and latest date of the
orders that count. **One after another**: a query per customer, by psycopg2 over one connection, and by
asyncpg over one. **Gathered**: the same queries concurrently, over a pool like the gateway's. **The
lookup**: one request, and one query. Each is measured with several round-trip times to PostgreSQL.
Connections are open, and have been used, before the clock starts.
"""

import asyncio
import http.client
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import msgspec
import psycopg2

from bench.alternate import Result, Side, SideFailed, compare, stopwatch
from bench.gateway.serving import served, slow_link
from bench.stack import BenchStack
from orderworks.cache import Cache
from orderworks.core.settings import Settings
from orderworks.reads import AsyncCustomerReads, Known
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.backends.database_pool import DatabasePool, address

SEQUENTIAL, ONE = "psycopg2, one after another", "asyncpg, one after another"
GATHERED, LOOKUP = "asyncpg, gathered over a pool", "POST /v1/customers:lookup"

ROUND_TRIPS = (0, 1, 2, 5)
"""Milliseconds of a round trip to PostgreSQL, in addition to that of the loopback interface."""

GOALS = {0: 5, 2: 20}
"""Minimum speed of a lookup relative to psycopg2, by milliseconds of a round trip."""

MAX_IDS = 1000
"""Customers that are looked up: the maximum of one request."""

READ = """
SELECT c.id, c.name, c.email, c.phone, s.* FROM customers c CROSS JOIN LATERAL (
  SELECT count(*), coalesce(sum(total), 0::numeric(14, 2)), max(created_at) FROM orders
  WHERE customer_id = c.id AND status NOT IN (SELECT status FROM uncounted_statuses)
) s WHERE c.id = %s
"""
"""The data of a lookup for one customer."""


class LookupResponse(msgspec.Struct):
    """The gateway's response."""

    customers: list[Known]


class LookupSetup(NamedTuple):
    """The customers that a side reads, and the servers.

    Attributes:
        settings: with the address of PostgreSQL at the round trip.
        gateway: the URL of a gateway with these settings.
        token: for its requests.
        ids: of the customers to look up.
    """

    settings: Settings
    gateway: str
    token: str
    ids: list[int]


TimedRead = tuple[float, list[Known]]
"""The seconds of a read, and its rows."""


def measured(stack: BenchStack, token: str, rounds: int) -> list[Result]:
    """Measure all sides at all round trips."""
    return [
        result
        for milliseconds in ROUND_TRIPS
        for result in _measured_at(stack, token, milliseconds, rounds)
    ]


def comparisons(results: Sequence[Result]) -> list[str]:
    """Return notes: the lookup relative to psycopg2, gathered reads relative to one connection."""
    seconds = {result.name: result.seconds for result in results}
    lines = []
    for milliseconds in ROUND_TRIPS:
        sequential, one, gathered, lookup = (
            seconds[_side_name(milliseconds, side)] for side in (SEQUENTIAL, ONE, GATHERED, LOOKUP)
        )
        goal = f" (goal: {GOALS[milliseconds]})" if milliseconds in GOALS else ""
        lines.append(
            f"at {milliseconds} ms a lookup is {sequential / lookup:.1f} times as fast as "
            f"psycopg2{goal}, reads gathered over a pool are {one / gathered:.1f} times as fast as "
            "over one connection"
        )
    return lines


def _side_name(milliseconds: int, side: str) -> str:
    return f"{milliseconds} ms: {side}"


def _measured_at(stack: BenchStack, token: str, milliseconds: int, rounds: int) -> list[Result]:
    customer_ids = stack.sample.orders["customer_id"].unique().sort().to_list()
    count = min(MAX_IDS, len(customer_ids))
    ids = sorted(random.Random(milliseconds).sample(customer_ids, count))  # noqa: S311
    _, expected = _sequential(LookupSetup(stack.settings, "", token, ids))
    with _at_round_trip(stack.settings, milliseconds) as (settings, gateway):
        setup = LookupSetup(settings, gateway, token, ids)
        sides = [
            Side(_side_name(milliseconds, side), len(ids), partial(_checked, run, setup, expected))
            for side, run in RUNS.items()
        ]
        return compare(rounds, *sides)


def _checked(
    run: Callable[[LookupSetup], TimedRead], setup: LookupSetup, expected: list[Known]
) -> float:
    seconds, rows = run(setup)
    if rows != expected:
        raise SideFailed("its rows differ from those of a query per customer")
    return seconds


@contextmanager
def _at_round_trip(settings: Settings, milliseconds: int) -> Iterator[tuple[Settings, str]]:
    """Yield settings with PostgreSQL at this round trip, and the URL of a gateway with them."""
    if not milliseconds:
        yield settings, str(settings.gateway_url)
        return
    with (
        slow_link(settings.database, milliseconds / 1000) as url,
        served("-m", "orderworks_app", "gateway", "--port", DATABASE_URL=url) as port,
    ):
        yield settings.model_copy(update={"database_url": url}), f"http://{LOOPBACK}:{port}"


def _sequential(setup: LookupSetup) -> TimedRead:
    rows: list[Known] = []
    with (
        closing(psycopg2.connect(setup.settings.database)) as connection,
        connection.cursor() as cursor,
    ):
        connection.autocommit = True
        cursor.execute(READ, (0,))
        with stopwatch() as elapsed:
            for customer_id in setup.ids:
                cursor.execute(READ, (customer_id,))
                rows += [Known(*row) for row in cursor.fetchall()]
            return elapsed(), rows


def _one(setup: LookupSetup) -> TimedRead:
    return asyncio.run(_over_one(setup))


async def _over_one(setup: LookupSetup) -> TimedRead:
    connection = await asyncpg.connect(address(setup.settings))
    async with _reads(connection, setup.settings) as reads:
        await reads.lookup([])
        with stopwatch() as elapsed:
            rows = [row for each in setup.ids for row in await reads.lookup([each])]
            seconds = elapsed()
    await connection.close()
    return seconds, rows


def _gathered(setup: LookupSetup) -> TimedRead:
    return asyncio.run(_over_pool(setup))


async def _over_pool(setup: LookupSetup) -> TimedRead:
    pool = await DatabasePool.open(setup.settings)
    async with _reads(pool, setup.settings) as reads:
        await asyncio.gather(*[reads.lookup([]) for _each in setup.ids])
        with stopwatch() as elapsed:
            results = await asyncio.gather(*[reads.lookup([each]) for each in setup.ids])
            seconds = elapsed()
    await pool.close()
    return seconds, [row for rows in results for row in rows]


@asynccontextmanager
async def _reads(pool: Any, settings: Settings) -> AsyncIterator[AsyncCustomerReads]:  # noqa: ANN401 - untyped
    """Yield the reads. Their lookup does not use the cache."""
    cache = Cache.from_settings(settings)
    yield AsyncCustomerReads(pool, cache, settings.cache_ttl)
    await cache.aclose()


def _lookup(setup: LookupSetup) -> TimedRead:
    gateway = urlsplit(setup.gateway)
    with closing(
        http.client.HTTPConnection(str(gateway.hostname), gateway.port, timeout=60)
    ) as client:
        _look_up(client, setup.token, [])
        with stopwatch() as elapsed:
            rows = _look_up(client, setup.token, setup.ids)
            return elapsed(), rows


def _look_up(client: http.client.HTTPConnection, token: str, ids: list[int]) -> list[Known]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    client.request("POST", "/v1/customers:lookup", msgspec.json.encode({"ids": ids}), headers)
    response = client.getresponse()
    body = response.read()
    if response.status != HTTPStatus.OK:
        raise SideFailed(f"the gateway responded {body!r}")
    return msgspec.json.decode(body, type=LookupResponse).customers


RUNS = {SEQUENTIAL: _sequential, ONE: _one, GATHERED: _gathered, LOOKUP: _lookup}
