"""A drain in a process of its own. It loads what a drain needs, and nothing of the benchmarks."""

import logging
from typing import Any

import structlog

from orderworks.core.database import make_engine
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream

TIMEOUT = 300
"""Seconds that the drains may take."""


def drain(shard: int, shards: int, barrier: Any) -> None:  # noqa: ANN401 - multiprocessing's
    """Drain one shard until it is empty, between two waits at the barrier of all drains."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-bench")
    stream, cache = make_redis(settings.stream, 5), make_redis(settings.cache, 5)
    source = StreamSource(
        UpdateStream(stream, shards, settings.stream_limit), shard, settings.verdict_ttl
    )
    engine.connect().close()
    barrier.wait(TIMEOUT)
    while Drain(engine, source, cache, settings).run().more:
        pass
    barrier.wait(TIMEOUT)
