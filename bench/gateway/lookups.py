"""Many customers at once: a lookup through the gateway, beside reads of one customer each.

All sides answer the same, which is compared: the customer, and number, sum and latest date of the
orders that count. **One after another**: a query a customer, by psycopg2 over one connection, and by
asyncpg over one. **Gathered**: the same queries concurrently, over a pool like the gateway's. **The
lookup**: one request, and one query. Between each of them and PostgreSQL lies a way of so many
milliseconds, there and back. Connections are made, and have been used, before the clock starts.
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
from bench.gateway.serving import linked, served
from bench.stack import BenchStack
from orderworks.cache import Cache
from orderworks.core.settings import Settings
from orderworks.reads import AsyncCustomerReads, Known
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.backends.database_pool import DatabasePool, address

SEQUENTIAL, ONE = "psycopg2, one after another", "asyncpg, one after another"
GATHERED, LOOKUP = "asyncpg, gathered over a pool", "POST /v1/customers:lookup"

ROUND_TRIPS = (0, 1, 2, 5)
"""Milliseconds to PostgreSQL and back, added to what the loopback takes."""

GOALS = {0: 5, 2: 20}
"""Times as fast as psycopg2, at the least, by round trip."""

MAX_IDS = 1000
"""Customers that are looked up: as many as one lookup takes."""

READ = """
SELECT c.id, c.name, c.email, c.phone, s.* FROM customers c CROSS JOIN LATERAL (
  SELECT count(*), coalesce(sum(total), 0::numeric(14, 2)), max(created_at) FROM orders
  WHERE customer_id = c.id AND status NOT IN (SELECT status FROM uncounted_statuses)
) s WHERE c.id = %s
"""
"""What a lookup answers, of one customer."""


class LookupResponse(msgspec.Struct):
    """What the gateway says."""

    customers: list[Known]


class LookupSetup(NamedTuple):
    """From where who is read: settings with the way to PostgreSQL, a gateway that has them, ids."""

    settings: Settings
    gateway: str
    token: str
    ids: list[int]


TimedRead = tuple[float, list[Known]]
"""Seconds that it took, and what was found."""


def measured(stack: BenchStack, token: str, rounds: int) -> list[Result]:
    """All sides at all round trips."""
    return [
        result
        for milliseconds in ROUND_TRIPS
        for result in _measured_at(stack, token, milliseconds, rounds)
    ]


def compared(results: Sequence[Result]) -> list[str]:
    """How the lookup stands to psycopg2, and gathered reads to those over one connection."""
    seconds = {result.name: result.seconds for result in results}
    lines = []
    for milliseconds in ROUND_TRIPS:
        sequential, one, gathered, lookup = (
            seconds[_named(milliseconds, side)] for side in (SEQUENTIAL, ONE, GATHERED, LOOKUP)
        )
        goal = f" (goal: {GOALS[milliseconds]})" if milliseconds in GOALS else ""
        lines.append(
            f"at {milliseconds} ms a lookup is {sequential / lookup:.1f} times as fast as "
            f"psycopg2{goal}, reads gathered over a pool are {one / gathered:.1f} times as fast as "
            "over one connection"
        )
    return lines


def _named(milliseconds: int, side: str) -> str:
    return f"{milliseconds} ms: {side}"


def _measured_at(stack: BenchStack, token: str, milliseconds: int, rounds: int) -> list[Result]:
    known = stack.sample.orders["customer_id"].unique().sort().to_list()
    ids = sorted(random.Random(milliseconds).sample(known, min(MAX_IDS, len(known))))  # noqa: S311
    _, expected = _sequential(LookupSetup(stack.settings, "", token, ids))
    with _with_distance(stack.settings, milliseconds) as (settings, gateway):
        place = LookupSetup(settings, gateway, token, ids)
        sides = [
            Side(_named(milliseconds, side), len(ids), partial(_checked, run, place, expected))
            for side, run in RUNS.items()
        ]
        return compare(rounds, *sides)


def _checked(
    run: Callable[[LookupSetup], TimedRead], setup: LookupSetup, expected: list[Known]
) -> float:
    seconds, found = run(setup)
    if found != expected:
        raise SideFailed("it does not answer what a query a customer does")
    return seconds


@contextmanager
def _with_distance(settings: Settings, milliseconds: int) -> Iterator[tuple[Settings, str]]:
    """Settings that lead to PostgreSQL by a way so long, and a gateway that has them."""
    if not milliseconds:
        yield settings, str(settings.gateway_url)
        return
    with (
        linked(settings.database, milliseconds / 1000) as url,
        served("-m", "orderworks_app", "gateway", "--port", DATABASE_URL=url) as port,
    ):
        yield settings.model_copy(update={"database_url": url}), f"http://{LOOPBACK}:{port}"


def _sequential(setup: LookupSetup) -> TimedRead:
    found = []
    with (
        closing(psycopg2.connect(setup.settings.database)) as connection,
        connection.cursor() as cursor,
    ):
        connection.autocommit = True
        cursor.execute(READ, (0,))
        with stopwatch() as elapsed:
            for customer_id in setup.ids:
                cursor.execute(READ, (customer_id,))
                found += [Known(*row) for row in cursor.fetchall()]
            return elapsed(), found


def _one(setup: LookupSetup) -> TimedRead:
    return asyncio.run(_over_one(setup))


async def _over_one(setup: LookupSetup) -> TimedRead:
    connection = await asyncpg.connect(address(setup.settings))
    async with _reads(connection, setup.settings) as reads:
        await reads.lookup([])
        with stopwatch() as elapsed:
            found = [known for each in setup.ids for known in await reads.lookup([each])]
            seconds = elapsed()
    await connection.close()
    return seconds, found


def _gathered(setup: LookupSetup) -> TimedRead:
    return asyncio.run(_over_pool(setup))


async def _over_pool(setup: LookupSetup) -> TimedRead:
    pool = await DatabasePool.open(setup.settings)
    async with _reads(pool, setup.settings) as reads:
        await asyncio.gather(*[reads.lookup([]) for _each in setup.ids])
        with stopwatch() as elapsed:
            found = await asyncio.gather(*[reads.lookup([each]) for each in setup.ids])
            seconds = elapsed()
    await pool.close()
    return seconds, [known for each in found for known in each]


@asynccontextmanager
async def _reads(pool: Any, settings: Settings) -> AsyncIterator[AsyncCustomerReads]:  # noqa: ANN401 - untyped
    """Reads; a lookup never asks the cache."""
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
            found = _look_up(client, setup.token, setup.ids)
            return elapsed(), found


def _look_up(client: http.client.HTTPConnection, token: str, ids: list[int]) -> list[Known]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    client.request("POST", "/v1/customers:lookup", msgspec.json.encode({"ids": ids}), headers)
    answer = client.getresponse()
    body = answer.read()
    if answer.status != HTTPStatus.OK:
        raise SideFailed(f"the gateway answered {body!r}")
    return msgspec.json.decode(body, type=LookupResponse).customers


RUNS = {SEQUENTIAL: _sequential, ONE: _one, GATHERED: _gathered, LOOKUP: _lookup}
