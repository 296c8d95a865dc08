"""The present state of workers as the servers know it; functions that block or terminate sessions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa

from orderworks.core.locks import Lock
from orderworks.core.redis import make_redis
from orderworks.core.routing import Queue
from orderworks.core.schema import metadata
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream

_OURS = "datname = current_database() AND application_name LIKE 'orderworks-worker:%'"
_CLIENT = "split_part(application_name, ':', 2)::int"

_BACKENDS = sa.text(f"SELECT pid, {_CLIENT}, client_port FROM pg_stat_activity WHERE {_OURS}")

_HOLDERS = sa.text(
    f"SELECT {_CLIENT} FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE {_OURS} "
    "AND locktype = 'advisory' AND granted AND classid = :lock"
)

_HELD = sa.text(
    f"SELECT {_CLIENT} FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE {_OURS} "
    "AND locktype = 'advisory' AND NOT granted AND classid = 0 AND objid = :number"
)

_CUT = sa.text(f"SELECT state FROM pg_stat_activity WHERE {_OURS} AND pg_terminate_backend(pid)")

_WAITING = sa.text(f"SELECT {_CLIENT} FROM pg_stat_activity WHERE {_OURS} AND wait_event = :event")


class Backend(NamedTuple):
    """A worker's connection: PostgreSQL's process, the worker's process, the worker's port."""

    pid: int
    client: int
    port: int


def backends(engine: sa.Engine) -> list[Backend]:
    """All connections of workers."""
    with engine.connect() as connection:
        return [Backend(*row) for row in connection.execute(_BACKENDS)]


def drainers(engine: sa.Engine) -> list[int]:
    """The worker processes that are in the middle of a batch of updates."""
    with engine.connect() as connection:
        return list(connection.scalars(_HOLDERS, {"lock": int(Lock.DRAIN)}))


def waiting(engine: sa.Engine, event: str) -> list[int]:
    """The worker processes whose statement waits for the event, by PostgreSQL's name of it."""
    with engine.connect() as connection:
        return list(connection.scalars(_WAITING, {"event": event}))


def terminate_worker_sessions(engine: sa.Engine) -> int:
    """End all sessions of workers from the server's side; how many were in a transaction."""
    with engine.connect() as connection:
        return sum(state != "idle" for state in connection.scalars(_CUT))


def waiting_entries(settings: Settings) -> int:
    """The number of accepted updates in the streams."""
    with make_redis(settings.stream, timeout=5) as client:
        streams = UpdateStream(client, settings.update_shards, settings.stream_limit)
        return sum(streams.length(shard) for shard in range(streams.shards))


def is_drained(settings: Settings) -> bool:
    """Return true if no accepted update waits."""
    return not waiting_entries(settings)


def messages(settings: Settings, queue: Queue) -> int:
    """The number of messages in a queue that no worker has taken."""
    with make_redis(settings.broker, timeout=5) as client:
        return int(client.llen(queue.value))


class Gate:
    """Blocks every statement that writes orders, for as long as it is shut."""

    NUMBER = 990

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Block all such statements until the end of the `with` block."""
        with self._engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(self.NUMBER)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(self.NUMBER)))

    def held(self) -> list[int]:
        """The worker processes that wait at the gate."""
        with self._engine.connect() as connection:
            return list(connection.scalars(_HELD, {"number": self.NUMBER}))


_MAKE_FUNCTION = f"""
    CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared({Gate.NUMBER}); RETURN NULL; END $$
"""
_MAKE_TRIGGER = """
    CREATE TRIGGER pass_gate BEFORE INSERT OR UPDATE ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION pass_gate()
"""


@contextmanager
def gate(engine: sa.Engine) -> Iterator[Gate]:
    """A gate in the way of every statement that writes orders; open at first."""
    run(engine, _MAKE_FUNCTION, _MAKE_TRIGGER)
    try:
        yield Gate(engine)
    finally:
        run(engine, "DROP TRIGGER pass_gate ON orders", "DROP FUNCTION pass_gate()")


def run(engine: sa.Engine, *statements: str) -> None:
    """Run SQL in a transaction, as an operator does with psql."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def contents(engine: sa.Engine) -> dict[str, list[str]]:
    """Everything in the database, table by table."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(str, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }
