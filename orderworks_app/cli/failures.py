"""Errors of commands: one line on standard error, and an exit status for the kind of error.

1: the job failed, or a server is unavailable. 2: wrong usage or configuration.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from orderworks.core.errors import (
    ConfigurationError,
    DeadUpdateNotFound,
    EntryNotFound,
    ImportNotFound,
    InvalidInput,
    OrderworksError,
    TokenNotFound,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

FAILED = 1
WRONG_USAGE = 2

_USER_ERRORS = (
    ConfigurationError,
    InvalidInput,
    ImportNotFound,
    DeadUpdateNotFound,
    EntryNotFound,
    TokenNotFound,
)

_UNDEFINED_TABLE = "42P01"


@contextmanager
def report_failures() -> Iterator[None]:
    """Turn errors that the user can remedy into a line and an exit status."""
    try:
        yield
    except _USER_ERRORS as error:
        _end(error, WRONG_USAGE)
    except OrderworksError as error:
        _end(error, FAILED)
    except Exception as error:
        failure = _server_failure(error)
        if failure is None:
            raise
        _end(failure, FAILED)


def _server_failure(error: Exception) -> OrderworksError | None:
    """Return what a client library's error means; None if it is no error of a server."""
    import redis
    import sqlalchemy as sa

    from orderworks.core.redis import redis_unavailable

    if isinstance(error, sa.exc.DBAPIError):
        return _database_failure(error)
    return redis_unavailable(error) if isinstance(error, redis.RedisError) else None


def _database_failure(error: "sa.exc.DBAPIError") -> OrderworksError:
    from orderworks.core.database import database_unavailable
    from orderworks.core.settings import Settings

    if getattr(error.orig, "pgcode", None) == _UNDEFINED_TABLE:
        return OrderworksError("The database has no schema yet: run `orderworks db upgrade`")
    return database_unavailable(error, Settings.load().database)


def _end(error: Exception, status: int) -> NoReturn:
    sys.stderr.write(f"orderworks: {error}\n")
    sys.exit(status)
