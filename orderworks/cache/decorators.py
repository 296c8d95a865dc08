"""Cached reads that an invalidation always removes, as decorators of functions.

    cache = Cache.from_settings()

    @cache.per_customer(ttl=300, stale=60)
    def open_orders(customer_id: int, limit: int = 20) -> list[Order]: ...

All cached reads of a customer are fields of one Redis hash, which also has a random token. A reader
fetches the token before it queries (setting one if it is missing); its value is stored only if the hash
still has that token, in one server-side step. Invalidation deletes the hash: so neither a slow reader
nor eviction can restore old data. Reads of all customers are fields of one shared hash, which is
deleted with that of any customer.

While Redis is unavailable, reads query the database. The steps of a read are in `read_through`.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast

from orderworks.cache.backend import CacheBackend
from orderworks.cache.call_keys import Arguments, field_of
from orderworks.cache.codec import codec_of
from orderworks.cache.effects import perform, perform_async
from orderworks.cache.event_loops import LoopClients
from orderworks.cache.read_through import Lifetimes, ReadThrough
from orderworks.cache.single_flight import CacheKey, SingleFlight
from orderworks.cache.stats import CacheStats
from orderworks.core import keys as names
from orderworks.core.effects import run_async, run_sync
from orderworks.core.redis import make_async_redis, make_redis
from orderworks.core.settings import MAX_LIFETIME, Settings

NAME = re.compile(r"[\w.<>-]+")

P = ParamSpec("P")
T = TypeVar("T")


class Decorator(Protocol):
    """Caches what a function returns. The function's signature stays."""

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]:
        """Return the cached function."""


class Cache:
    """The cached functions of a process. Create it after the fork; threads and event loops share it.

    Arguments are part of the key by their exact type and value: None, bool, int, str, bytes, Decimal,
    date, datetime, UUID, enum members, and tuples of these. Values are decoded by the function's return
    annotation: builtin types, Decimal, UUID, dates, enums, dataclasses, msgspec structs, and containers
    of these. An exception of the function reaches its caller and is not cached.

    Single flight: in a process one reader at a time computes a value, and among all processes one, as
    long as the function takes at most 5 s. The other readers wait, with three exceptions, in which they
    compute for themselves: they have waited for 60 s; the last value could not be cached; or
    synchronous code reads while an event loop runs in its thread, where waiting would block the tasks
    that it waits for.

    A function must not call itself with the same arguments.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout`: seconds that a read waits for a reply of the Redis server at `url`."""
        self._client = make_redis(url, timeout)
        self._async_clients = LoopClients(partial(make_async_redis, url, timeout))
        self._backend, self._single_flight = CacheBackend(), SingleFlight()
        self._stats = CacheStats()
        self._names: set[tuple[str, bool]] = set()

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Return a cache on the server that the environment names."""
        settings = settings or Settings.load()
        return cls(settings.cache, settings.cache_timeout)

    def per_customer(
        self,
        *,
        ttl: float,
        stale: float = 0,
        negative_ttl: float | None = None,
        name: str | None = None,
    ) -> Decorator:
        """Cache what a function returns until the customer or one of its orders changes.

        The function's first argument is the customer's id. It may be a coroutine function.

        Args:
            ttl: seconds until a value is computed again.
            stale: seconds after these for which it may be served while one reader computes.
            negative_ttl: seconds until the value None is computed again; by default `ttl`.
            name: the name under which values are cached; by default the function's qualified name after
                its module's, which is `__main__` for a function of the program's own file. A function
                for threads and a coroutine function may have the same name: they share the values.

        Raises:
            TypeError: the decorated function has no usable return annotation, or its first argument
                is not annotated as an int.
            ValueError: a time is out of range, or the name is in use.
        """
        lifetimes = _checked_lifetimes(ttl, stale, negative_ttl)
        return cast("Decorator", partial(self._cached, _customer_key_builder, lifetimes, name))

    def shared(
        self,
        *,
        ttl: float,
        stale: float = 0,
        negative_ttl: float | None = None,
        name: str | None = None,
    ) -> Decorator:
        """Cache what a function returns until any customer or order changes.

        Parameters and errors are those of `per_customer`; the function's first argument may be any.
        """
        lifetimes = _checked_lifetimes(ttl, stale, negative_ttl)
        return cast("Decorator", partial(self._cached, _shared_key_builder, lifetimes, name))

    def close(self) -> None:
        """Publish the counts of this process, and close the connections of threads."""
        run_sync(self._stats.publish(self._backend), partial(perform, self._client, _no_load))
        self._client.close()

    async def aclose(self) -> None:
        """Do the same for the running event loop. `asyncio.run` closes its connections when it ends."""
        client = await self._async_clients.for_running_loop()
        await run_async(
            self._stats.publish(self._backend), partial(perform_async, client, _no_load_async)
        )
        await self._async_clients.close()

    def _cached(
        self,
        make_key_builder: "KeyBuilderFactory",
        lifetimes: Lifetimes,
        name: str | None,
        function: Callable[..., Any],
    ) -> Callable[..., Any]:
        name = name or _full_name(function)
        self._register(name, function)
        read_through = ReadThrough(
            self._backend, self._single_flight, self._stats, codec_of(name, function), lifetimes
        )
        build_key = make_key_builder(name, Arguments(function))
        if inspect.iscoroutinefunction(function):
            return self._for_tasks(function, read_through, build_key)
        return self._for_threads(function, read_through, build_key)

    def _register(self, name: str, function: Callable[..., Any]) -> None:
        """Reserve the name. A function for threads and a coroutine function may have the same one."""
        entry = (name, inspect.iscoroutinefunction(function))
        if not NAME.fullmatch(name):
            raise ValueError(f"{name}: a name has letters, digits, and . - _ < > only")
        if entry in self._names:
            raise ValueError(f"{name}: a function of this name is cached already: give a `name`")
        self._names.add(entry)

    def _for_threads(
        self, function: Callable[..., T], read_through: ReadThrough[T], build_key: "KeyBuilder"
    ) -> Callable[..., T]:
        @wraps(function)
        def read(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - the decorator keeps the types
            steps = read_through.read(build_key(args, kwargs))
            load = partial(function, *args, **kwargs)
            return run_sync(steps, partial(perform, self._client, load))

        return read

    def _for_tasks(
        self,
        function: Callable[..., Awaitable[T]],
        read_through: ReadThrough[T],
        build_key: "KeyBuilder",
    ) -> Callable[..., Awaitable[T]]:
        @wraps(function)
        async def read(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - likewise
            steps = read_through.read(build_key(args, kwargs))
            load = partial(function, *args, **kwargs)
            client = await self._async_clients.for_running_loop()
            return await run_async(steps, partial(perform_async, client, load))

        return read


KeyBuilder = Callable[[tuple[Any, ...], dict[str, Any]], CacheKey]
"""Returns the cache key of a call, from its positional and its keyword arguments."""

KeyBuilderFactory = Callable[[str, Arguments], KeyBuilder]


def _full_name(function: Callable[..., Any]) -> str:
    """Return the function's name after its module's, so that functions of two modules share nothing."""
    return f"{function.__module__}.{function.__qualname__.rpartition('<locals>.')[2]}"


def _customer_key_builder(name: str, arguments: Arguments) -> KeyBuilder:
    first = arguments.first
    if first is None or first.annotation not in (int, "int"):
        raise TypeError(f"{name}: its first argument must be the customer's id, annotated as int")

    def build_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> CacheKey:
        values = arguments.values(args, kwargs)
        customer_id = values[0]
        if type(customer_id) is not int:
            kind = type(customer_id).__qualname__
            raise TypeError(f"{name}: the customer's id must be an int, not of type {kind}")
        return CacheKey(names.customer_cache(customer_id), field_of(name, values[1:]))

    return build_key


def _shared_key_builder(name: str, arguments: Arguments) -> KeyBuilder:
    key = names.shared_cache()
    return lambda args, kwargs: CacheKey(key, field_of(name, arguments.values(args, kwargs)))


def _checked_lifetimes(ttl: float, stale: float, negative_ttl: float | None) -> Lifetimes:
    negative = ttl if negative_ttl is None else negative_ttl
    if not (0 < negative <= ttl <= MAX_LIFETIME and 0 <= stale <= MAX_LIFETIME):
        raise ValueError(
            "ttl and negative_ttl must be above 0, stale at least 0, negative_ttl at most ttl, "
            "and ttl and stale at most a year"
        )
    return Lifetimes(ttl, stale, negative)


def _no_load() -> None:
    """Stand for the loader where no step loads."""


async def _no_load_async() -> None:
    """Stand for the loader where no step loads, in an event loop."""
