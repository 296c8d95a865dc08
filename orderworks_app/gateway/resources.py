"""What one gateway process owns while it runs: its connections to all servers."""

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
from orderworks_app.gateway.streaming.shared_streams import SharedStreams
from orderworks_app.gateway.streaming.shutdown import call_on_shutdown
from orderworks_app.gateway.transfers.uploads import Uploads
from producer import AsyncProducer

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class GatewayResources:
    """The connections of one process; each is opened on first use. It belongs to one event loop.

    Attributes:
        pool: PostgreSQL, for what is awaited.
        engine: PostgreSQL, for what `in_thread` runs.
        producer: where updates and files are handed over.
        cache: the cached functions; `reads` are those of customers.
        stream: the Redis of updates and progress.
        published: the Redis of reports and cached reads.
        blocking: what only `in_thread` may use.
        replaying: who replays dead letters has it; a replay takes seconds, and a thread of its own.
        shared: looks that serve many.
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
        """The state of this process, until the block ends. No server has to be there for it."""
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
            shared = SharedStreams(blocking)
            stack.enter_context(call_on_shutdown(shared.close))
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
                streams=shared,
            )

    async def in_thread(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function gives that blocks. As many run at a time as `engine` has connections."""
        call = partial(function, *args, **kwargs)
        return await to_thread.run_sync(call, limiter=self.threads)

    async def in_thread_within(
        self, seconds: float, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, if it comes in time. Else the thread goes on, one of as many, until it ends.

        Raises:
            TimeoutError: it did not come, or no thread was free.
        """
        call, mine = partial(function, *args, **kwargs), object()

        def end(ended: "asyncio.Future[T]") -> None:
            self.threads.release_on_behalf_of(mine)
            # Perhaps nobody waits for it any more.
            _ = ended.cancelled() or ended.exception()

        async with asyncio.timeout(seconds):
            await self.threads.acquire_on_behalf_of(mine)
            running = asyncio.ensure_future(to_thread.run_sync(call, limiter=CapacityLimiter(1)))
            running.add_done_callback(end)
            return await asyncio.shield(running)


def _producer(settings: Settings) -> AsyncProducer:
    return AsyncProducer(
        redis_url=settings.stream, broker_url=settings.broker, spool_url=settings.spool
    )


def _client(stack: AsyncExitStack, settings: Settings, url: str) -> redis.asyncio.Redis:
    client = make_async_redis(url, settings.redis_timeout)
    stack.push_async_callback(client.aclose)
    return client
