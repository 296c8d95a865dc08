"""Errors of commands: one line on standard error, and an exit status for the kind of error.

1: the job failed, or a server is unavailable. 2: wrong usage or configuration.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import sqlalchemy as sa

from orderworks.core.database import database_unavailable
from orderworks.core.errors import (
    ConfigurationError,
    DeadUpdateNotFound,
    EntryNotFound,
    ImportNotFound,
    InvalidInput,
    OrderworksError,
    TokenNotFound,
)
from orderworks.core.redis import redis_unavailable
from orderworks.core.settings import Settings

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
    except sa.exc.DBAPIError as error:
        _end(_database_failure(error), FAILED)
    except redis.RedisError as error:
        _end(redis_unavailable(error), FAILED)


def _database_failure(error: sa.exc.DBAPIError) -> OrderworksError:
    if getattr(error.orig, "pgcode", None) == _UNDEFINED_TABLE:
        return OrderworksError("The database has no schema yet: run `orderworks db upgrade`")
    return database_unavailable(error, Settings.load().database)


def _end(error: Exception, status: int) -> None:
    sys.stderr.write(f"orderworks: {error}\n")
    sys.exit(status)
