"""Fixtures of integration tests: write rows, append updates, drain, foreign sessions, an S3 server."""

from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain, DrainResult
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream
from tests.support.s3 import S3, Bucket, new_bucket, running_s3
from tests.support.types import AcceptUpdates, DrainAll, OrderRows, ReadRows, WriteRows


@pytest.fixture
def seed(engine: sa.Engine) -> WriteRows:
    """Put orders, and the customers that they name, into the tables."""

    def write(rows: OrderRows) -> None:
        with engine.begin() as connection:
            people = sorted({customer for customer, *_rest in rows.values()})
            connection.execute(
                sa.insert(customers), [{"id": each, "name": f"Customer {each}"} for each in people]
            )
            connection.execute(
                sa.insert(orders),
                [
                    {"id": key, "customer_id": who, "status": how, "total": what, "version": when}
                    for key, (who, how, what, when) in rows.items()
                ],
            )

    return write


@pytest.fixture
def rows(engine: sa.Engine) -> ReadRows:
    """Read the whole orders table."""

    def read() -> OrderRows:
        query = sa.select(*orders.c["id", "customer_id", "status", "total", "version"])
        with engine.connect() as connection:
            return {key: tuple(row) for key, *row in connection.execute(query)}

    return read


@pytest.fixture
def accept(updates: UpdateStream) -> AcceptUpdates:
    """Append updates as a producer does; their entry ids."""

    def append(batch: Sequence[OrderUpdate]) -> list[str]:
        return [
            updates.append(updates.shard_of(each.order_id), [each.encode()]).ids[0]
            for each in batch
        ]

    return append


@pytest.fixture
def drain(engine: sa.Engine, updates: UpdateStream, cache: Redis, settings: Settings) -> DrainAll:
    """Drain every shard until it is empty."""

    def run(**overrides: str) -> list[DrainResult]:
        used = settings.model_copy(update=overrides)
        backlogs = [StreamSource(updates, shard, 60) for shard in range(updates.shards)]
        return [Drain(engine, backlog, cache, used).run() for backlog in backlogs]

    return run


@pytest.fixture
def other(settings: Settings) -> Iterator[sa.Engine]:
    """Sessions of another application, with the name `psql-lunch`."""
    engine = sa.create_engine(
        sa.make_url(settings.database).set(drivername="postgresql+psycopg2"),
        connect_args={"application_name": "psql-lunch"},
    )
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A server that speaks S3."""
    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3) -> Iterator[Bucket]:
    """An empty bucket, also in the environment."""
    with new_bucket(s3) as made:
        yield made
