"""Finds an import by its id, in the ledger or in what its producer left."""

import time
from contextlib import suppress
from typing import Annotated

import redis
import sqlalchemy as sa
import typer

from orders.database import make_engine
from orders.errors import ImportNotFound, OrderworksError, WrongState
from orders.imports.ledger import import_summary
from orders.imports.progress import Summary, mirror, read_progress
from orders.redis import Redis, make_redis
from orders.settings import Settings
from orders.stream import UpdateStream

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def open_ledger() -> sa.Engine:
    """The database that the environment names."""
    return make_engine(Settings.load(), "orderworks-cli")


def find_import(connection: sa.Connection, import_id: str) -> Summary:
    """What the ledger says, or where the import is not in there, what was left in Redis.

    Raises:
        ImportNotFound: neither knows it.
    """
    try:
        return import_summary(connection, import_id)
    except ImportNotFound:
        settings = Settings.load()
        with make_redis(settings.stream, settings.redis_timeout) as stream:
            accepted = read_progress(stream, import_id)
        if accepted is None:
            raise _unknown(import_id) from None
        return accepted


def remind_of(import_id: str) -> None:
    """Let Redis know again of an import that only the ledger knows any more, if that does."""
    settings = Settings.load()
    with make_redis(settings.stream, settings.redis_timeout) as stream:
        if read_progress(stream, import_id) is None:
            with open_ledger().connect() as connection, suppress(ImportNotFound):
                mirror(stream, import_summary(connection, import_id))


def not_in_ledger(stream: Redis, import_id: str) -> OrderworksError:
    """Why nothing can be done to an import that the ledger does not have."""
    accepted = read_progress(stream, import_id)
    if accepted is None:
        return _unknown(import_id)
    if accepted["dry_run"]:
        return WrongState(f"import {import_id} is a dry run, of which nothing is kept")
    return WrongState(
        f"import {import_id} is {accepted['status']} and not planned yet; try again in a moment, "
        "as soon as a worker has read the file"
    )


def waits_for_updates() -> bool:
    """Whether workers keep imports back just now, because order updates have waited for too long."""
    settings = Settings.load()
    with make_redis(settings.stream, settings.redis_timeout) as client:
        stream = UpdateStream(client, settings.update_shards, settings.stream_limit)
        with suppress(redis.RedisError):
            now, most = time.time(), settings.import_yield_lag
            return any(stream.lag(shard, now) > most for shard in stream.every_shard())
    return False


def _unknown(import_id: str) -> ImportNotFound:
    return ImportNotFound(f"no import has the id {import_id}; `orderworks imports` lists them")
