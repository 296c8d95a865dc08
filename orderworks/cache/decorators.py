"""Cached reads that never outlive the data they came from, and their invalidation.

    cache = Cache.from_settings()

    @cache.per_customer(ttl=300, stale=60)
    def open_orders(customer_id: int, limit: int = 20) -> list[Order]: ...

All cached reads of a customer are fields of one Redis hash, beside a random token. A reader takes the
token before it queries (making one if there is none); its answer is stored only if the same token is
still there, in one server-side step. Invalidation removes the hash: so no slow reader can put old data
back, nor can eviction. What is read of all customers lies in one more hash, which goes with any of them.

With Redis away, reads go on from the database.
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
    """Makes a function's answers cached. It is called as before."""

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]:
        """The cached function."""


class Cache:
    """The cached functions of a process. Make it after the fork; threads and event loops share it.

    An argument names a cached value by its exact type and value: None, bool, int, str, bytes, Decimal,
    date, datetime, UUID, enum members, and tuples of these. Values come back by the function's return
    annotation: builtin types, Decimal, UUID, dates, enums, dataclasses, msgspec structs, and what is
    built of these. What the function raises reaches its caller and is not cached.

    A value is computed by one reader of a process at a time, and of all processes for as long as the
    function takes no longer than 5 s. But nobody waits for the others of its process for longer than
    60 s, or where the last value could not be cached. And plain code that reads while its thread's event
    loop runs waits for nobody: it would stop the tasks that it waits for, so it computes.

    A function must not read itself with the same arguments.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout` is for how long, in seconds, a read waits for an answer of the server at `url`."""
        self._client = make_redis(url, timeout)
        self._async_clients = LoopClients(partial(make_async_redis, url, timeout))
        self._server, self._flights, self._counts = CacheBackend(), SingleFlight(), CacheStats()
        self._names: set[tuple[str, bool]] = set()

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """A cache on the server that the environment names."""
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
        """Cache what a function returns, until anything about the customer changes.

        The function's first argument is the customer's id. It may be a coroutine function.

        Args:
            ttl: seconds until a value is computed anew.
            stale: seconds for which it may be served beyond that while one reader computes.
            negative_ttl: seconds until the answer None is computed anew; as `ttl`, if not given.
            name: what the values are kept under, if not the function's qualified name with its module's,
                which is `__main__` for what a program's own file defines. A function for threads and a
                coroutine function may have the same, and share the values.

        Raises:
            TypeError: the decorated function has no usable return annotation, or its first argument
                is not annotated as an int.
            ValueError: a time is out of range, or the name is taken.
        """
        lives = _checked_lifetimes(ttl, stale, negative_ttl)
        return cast("Decorator", partial(self._cached, _customer_key_builder, lives, name))

    def shared(
        self,
        *,
        ttl: float,
        stale: float = 0,
        negative_ttl: float | None = None,
        name: str | None = None,
    ) -> Decorator:
        """Cache what a function returns, until anything about any customer changes.

        Arguments and errors are those of `per_customer`, except that no argument is special.
        """
        lives = _checked_lifetimes(ttl, stale, negative_ttl)
        return cast("Decorator", partial(self._cached, _shared_key_builder, lives, name))

    def close(self) -> None:
        """Tell the server what was counted, and close the connections of threads."""
        run_sync(self._counts.publish(self._server), partial(perform, self._client, _no_load))
        self._client.close()

    async def aclose(self) -> None:
        """The same for the event loop that calls it. `asyncio.run` closes them by itself at its end."""
        client = await self._async_clients.for_running_loop()
        await run_async(
            self._counts.publish(self._server), partial(perform_async, client, _no_load_async)
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
        codec = codec_of(name, function)
        reading = ReadThrough(self._server, self._flights, self._counts, codec, lifetimes)
        place = make_key_builder(name, Arguments(function))
        if inspect.iscoroutinefunction(function):
            return self._for_tasks(function, reading, place)
        return self._for_threads(function, reading, place)

    def _register(self, name: str, function: Callable[..., Any]) -> None:
        """Take the name. A function for threads and one for tasks may share one, and the values."""
        taken = (name, inspect.iscoroutinefunction(function))
        if not NAME.fullmatch(name):
            raise ValueError(f"{name}: a name has letters, digits, and . - _ < > only")
        if taken in self._names:
            raise ValueError(f"{name}: a function of this name is cached already: give a `name`")
        self._names.add(taken)

    def _for_threads(
        self, function: Callable[..., T], reading: ReadThrough[T], build_key: "KeyBuilder"
    ) -> Callable[..., T]:
        @wraps(function)
        def read(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - the decorator keeps the types
            steps = reading.read(build_key(args, kwargs))
            load = partial(function, *args, **kwargs)
            return run_sync(steps, partial(perform, self._client, load))

        return read

    def _for_tasks(
        self,
        function: Callable[..., Awaitable[T]],
        reading: ReadThrough[T],
        build_key: "KeyBuilder",
    ) -> Callable[..., Awaitable[T]]:
        @wraps(function)
        async def read(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - likewise
            steps = reading.read(build_key(args, kwargs))
            load = partial(function, *args, **kwargs)
            client = await self._async_clients.for_running_loop()
            return await run_async(steps, partial(perform_async, client, load))

        return read


KeyBuilder = Callable[[tuple[Any, ...], dict[str, Any]], CacheKey]
"""From the arguments of a call to the place of its value."""

KeyBuilderFactory = Callable[[str, Arguments], KeyBuilder]


def _full_name(function: Callable[..., Any]) -> str:
    """The function's name and its module's, so that functions of two modules never share values."""
    return f"{function.__module__}.{function.__qualname__.rpartition('<locals>.')[2]}"


def _customer_key_builder(name: str, arguments: Arguments) -> KeyBuilder:
    first = arguments.first
    if first is None or first.annotation not in (int, "int"):
        raise TypeError(f"{name}: its first argument has to be the customer's id, annotated as int")

    def placed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> CacheKey:
        values = arguments.values(args, kwargs)
        customer_id = values[0]
        if type(customer_id) is not int:
            kind = type(customer_id).__qualname__
            raise TypeError(f"{name}: a customer's id is an int, and this is of type {kind}")
        return CacheKey(names.customer_cache(customer_id), field_of(name, values[1:]))

    return placed


def _shared_key_builder(name: str, arguments: Arguments) -> KeyBuilder:
    key = names.shared_cache()
    return lambda args, kwargs: CacheKey(key, field_of(name, arguments.values(args, kwargs)))


def _checked_lifetimes(ttl: float, stale: float, negative_ttl: float | None) -> Lifetimes:
    negative = ttl if negative_ttl is None else negative_ttl
    if not (0 < negative <= ttl <= MAX_LIFETIME and 0 <= stale <= MAX_LIFETIME):
        raise ValueError(
            "ttl and negative_ttl are above 0, stale is not below 0, and None lives no longer; "
            "ttl and stale are a year at the most"
        )
    return Lifetimes(ttl, stale, negative)


def _no_load() -> None:
    """What is loaded where nothing is."""


async def _no_load_async() -> None:
    """Likewise."""
