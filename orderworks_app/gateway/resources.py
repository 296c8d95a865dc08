"""Resources of a gateway process: its connections to all servers, its threads, its caches."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, Self, TypeVar

import redis.asyncio
import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread

from orderworks.cache import Cache
from orderworks.core.database import make_engine
from orderworks.core.redis import make_async_redis
from orderworks.core.settings import Settings
from orderworks.reads import AsyncCustomerReads
from orderworks_app.gateway.auth.rate_limit import RateLimits
from orderworks_app.gateway.auth.token_cache import Tokens
from orderworks_app.gateway.backends.database_pool import DatabasePool
from orderworks_app.gateway.backends.threads import BlockingServices
from orderworks_app.gateway.http.descriptors import max_streams
from orderworks_app.gateway.streaming.shared_streams import SharedStreams
from orderworks_app.gateway.streaming.shutdown import call_on_shutdown
from orderworks_app.gateway.transfers.uploads import Uploads
from producer import AsyncProducer

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class GatewayResources:
    """The resources of one process, for one event loop. Connections are opened on first use.

    Attributes:
        pool: PostgreSQL, for the event loop.
        engine: PostgreSQL, for functions in threads.
        producer: sends updates and files.
        cache: the cache of `reads`.
        reads: cached reads of customers and orders.
        stream: the Redis of updates and of the progress of imports.
        published: the Redis of reports and cached reads.
        threads: limits the threads of `in_thread` to the connections of `engine`.
        blocking: services that only functions in threads may use.
        replay_lock: held during a replay of dead letters, which takes seconds in a thread of its own.
        streams: event streams and polls that clients share.
    """

    settings: Settings
    pool: DatabasePool
    engine: sa.Engine
    producer: AsyncProducer
    cache: Cache
    reads: AsyncCustomerReads
    stream: redis.asyncio.Redis
    published: redis.asyncio.Redis
    threads: CapacityLimiter
    tokens: Tokens
    rate_limits: RateLimits
    uploads: Uploads
    blocking: BlockingServices
    replay_lock: asyncio.Lock
    streams: SharedStreams

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: Settings) -> AsyncIterator[Self]:
        """Provide the resources until the block ends. They need no running server to start."""
        async with AsyncExitStack() as stack:
            pool = await DatabasePool.open(settings)
            stack.push_async_callback(pool.close)
            engine = make_engine(settings, "orderworks-gateway")
            stack.callback(engine.dispose)
            cache = Cache.from_settings(settings)
            stack.push_async_callback(cache.aclose)
            published = _client(stack, settings, settings.cache)
            producer = await stack.enter_async_context(_producer(settings))
            blocking = stack.enter_context(BlockingServices.running(settings, engine, cache))
            streams = SharedStreams(blocking, max_streams(settings.gateway_max_streams))
            stack.enter_context(call_on_shutdown(streams.close))
            yield cls(
                settings=settings,
                pool=pool,
                engine=engine,
                producer=producer,
                cache=cache,
                reads=AsyncCustomerReads(pool, cache, settings.cache_ttl),
                stream=_client(stack, settings, settings.stream),
                published=published,
                threads=CapacityLimiter(settings.db_pool_size + settings.db_max_overflow),
                tokens=Tokens(pool),
                rate_limits=RateLimits(published, settings.cache_timeout),
                uploads=Uploads(producer),
                blocking=blocking,
                replay_lock=asyncio.Lock(),
                streams=streams,
            )

    async def in_thread(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in one of `threads`, and return its result."""
        call = partial(function, *args, **kwargs)
        return await to_thread.run_sync(call, limiter=self.threads)

    async def in_thread_within(
        self, seconds: float, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same with a timeout. After it, the function keeps its thread until it ends.

        Raises:
            TimeoutError: the function did not end in time, or no thread was free.
        """
        call, borrower = partial(function, *args, **kwargs), object()

        def release(ended: "asyncio.Future[T]") -> None:
            self.threads.release_on_behalf_of(borrower)
            # After a timeout nothing else retrieves the exception, which asyncio would log.
            _ = ended.cancelled() or ended.exception()

        async with asyncio.timeout(seconds):
            await self.threads.acquire_on_behalf_of(borrower)
            running = asyncio.ensure_future(to_thread.run_sync(call, limiter=CapacityLimiter(1)))
            running.add_done_callback(release)
            return await asyncio.shield(running)


def _producer(settings: Settings) -> AsyncProducer:
    return AsyncProducer(
        redis_url=settings.stream, broker_url=settings.broker, spool_url=settings.spool
    )


def _client(stack: AsyncExitStack, settings: Settings, url: str) -> redis.asyncio.Redis:
    client = make_async_redis(url, settings.redis_timeout)
    stack.push_async_callback(client.aclose)
    return client
