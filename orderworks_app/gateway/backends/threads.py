"""Services of the domain that block their thread, because they know no event loop."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Self

import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings
from orderworks.reports.top_customers import TopCustomers
from orderworks.updates.replay import Replay
from orderworks.updates.replay_rate import DEFAULT_RATE
from orderworks.updates.stream import UpdateStream
from orderworks_app.observability.metrics import Metrics
from orderworks_app.observability.status import StatusReader
from orderworks_app.operations.imports import Imports
from producer.nudges import Nudges


@dataclass(frozen=True)
class BlockingServices:
    """Services for threads, which share them. Connections are opened on first use.

    Attributes:
        engine: PostgreSQL.
        updates: the streams of accepted updates.
        published: the Redis of reports and cached reads.
        reports: published reports, with the short timeout of cached reads.
        status_reader: the checks of `orderworks status`.
    """

    engine: sa.Engine
    updates: UpdateStream
    published: Redis
    imports: Imports
    reports: TopCustomers
    metrics: Metrics
    status_reader: StatusReader
    nudges: Nudges

    @classmethod
    @contextmanager
    def running(cls, settings: Settings, engine: sa.Engine, cache: Cache) -> Iterator[Self]:
        """Provide the services until the block ends. They need no running server to start."""
        with ExitStack() as stack:
            stream, published, quick = (
                stack.enter_context(make_redis(url, timeout))
                for url, timeout in (
                    (settings.stream, settings.redis_timeout),
                    (settings.cache, settings.redis_timeout),
                    (settings.cache, settings.cache_timeout),
                )
            )
            nudges = stack.enter_context(closing(Nudges(settings.broker)))
            yield cls(
                engine=engine,
                updates=UpdateStream(stream, settings.update_shards, settings.stream_limit),
                published=published,
                imports=Imports(engine, stream, nudges, settings),
                reports=TopCustomers(engine, quick, cache),
                metrics=Metrics.from_settings(settings),
                status_reader=stack.enter_context(closing(StatusReader(settings))),
                nudges=nudges,
            )

    def replay(self, wait_for_room: float) -> Replay:
        """Create a replay that waits up to `wait_for_room` seconds for room in a full stream."""
        return Replay(
            self.engine, self.updates, self._nudge, rate=DEFAULT_RATE, wait_for_room=wait_for_room
        )

    def _nudge(self, shard: int) -> None:
        self.nudges.send(TaskName.DRAIN_UPDATES, shard)
