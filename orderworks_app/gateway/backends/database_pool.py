"""Connections to PostgreSQL for an event loop: asyncpg's pool, with a timeout on every wait."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg

from orderworks.core.database import TRANSIENT_STATES, database_address
from orderworks.core.errors import ConfigurationError, Unavailable
from orderworks.core.sessions import is_pooled, session_parameters
from orderworks.core.settings import Settings

CLOSE_TIMEOUT = 3.0
"""Seconds that running queries have when the pool is closed."""

STATEMENTS = 100
"""Prepared statements of a connection that are kept; asyncpg's default."""

CANCELED = "57014"
"""The SQLSTATE of a statement that exceeded its timeout."""


class DatabasePool:
    """A pool of asyncpg. It opens connections on demand, so it needs no running PostgreSQL."""

    def __init__(self, pool: "asyncpg.Pool", settings: Settings) -> None:
        self._pool = pool
        self._timeout = settings.db_pool_timeout

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Create a pool for the running event loop.

        Its sessions have the parameters of `make_engine`. Through a pooler they have none, because
        each query is a transaction of its own, and `command_timeout` ends one that takes too long.
        """
        pooled = is_pooled(settings)
        pool = await asyncpg.create_pool(
            address(settings),
            min_size=0,
            max_size=settings.gateway_pool_size,
            max_inactive_connection_lifetime=max(0, settings.db_pool_recycle),
            timeout=settings.db_connect_timeout,
            # PostgreSQL enforces its own timeout; this is for a server that stopped answering.
            command_timeout=settings.db_statement_timeout + settings.db_connect_timeout,
            server_settings={
                "application_name": f"orderworks-gateway:{os.getpid()}",
                **({} if pooled else session_parameters(settings)),
            },
            # A prepared statement stays with one session, and a pooler changes the session.
            statement_cache_size=0 if pooled else STATEMENTS,
        )
        return cls(pool, settings)

    async def close(self) -> None:
        """Close the connections; after `CLOSE_TIMEOUT`, those with running queries are terminated."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy"]:
        """Provide a connection for the length of a block.

        Raises:
            Unavailable: PostgreSQL cannot be reached, closed the connection or did not answer in
                time; or all connections were in use for too long.
        """
        try:
            async with self._pool.acquire(timeout=self._timeout) as connection:
                yield connection
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
            if not is_outage(error):
                raise
            raise Unavailable(f"PostgreSQL cannot be used: {error_line(error)}") from error

    async def fetch(self, query: str, *args: Any) -> Sequence[Sequence[Any]]:  # noqa: ANN401 - asyncpg's own
        """Return all rows of a query.

        Raises:
            Unavailable: as for `connection`.
        """
        async with self.connection() as connection:
            rows: Sequence[Sequence[Any]] = await connection.fetch(query, *args)
            return rows


def address(settings: Settings) -> str:
    """Return the database's URL in the form that asyncpg accepts.

    asyncpg sends parameters that it does not know to the server, which refuses those of libpq.

    Raises:
        ConfigurationError: it requires what asyncpg cannot do.
    """
    url = database_address(settings.database).set(drivername="postgresql")
    if url.query.get("channel_binding") == "require":
        raise ConfigurationError(
            "DATABASE_URL: the gateway's driver cannot do channel_binding=require: leave it out, and "
            "use sslmode=verify-full"
        )
    return url.difference_update_query(_OF_LIBPQ).render_as_string(hide_password=False)


_OF_LIBPQ = (
    *("connect_timeout", "tcp_user_timeout", "channel_binding", "gssencmode", "sslcompression"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "sslsni"),
    *("fallback_application_name", "load_balance_hosts", "require_auth", "hostaddr"),
)
"""Parameters of libpq without a counterpart in asyncpg; the gateway has timeouts of its own."""


def is_outage(error: Exception) -> bool:
    """Return whether a later attempt can succeed; a `TimeoutError` is an `OSError`."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state in (*TRANSIENT_STATES, CANCELED) or state.startswith("08")
    return True


def error_line(error: Exception) -> str:
    """Return the first line of an error's message; a timeout has none of its own."""
    return (str(error) or "it did not answer in time").splitlines()[0]
