"""The producer: accept order updates and import files, so that workers apply them."""

import time
from collections.abc import Iterable, Mapping
from typing import Literal, Self, TypeVar, overload

from orderworks.core.effects import run_sync
from orderworks.core.redis import make_redis
from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings
from orderworks.imports.spool import Spool
from orderworks.updates.messages import OrderUpdate
from producer.effects import NudgeEffect, ProducerEffect, ProducerSteps, Replies, RoundTrip
from producer.imports.accept import accept_import, accept_kept_file
from producer.imports.defaults import complete_options
from producer.imports.job import ImportJob
from producer.imports.options import select_options
from producer.imports.sources.open_source import ImportSource
from producer.nudges import Nudges
from producer.receipts import Receipt
from producer.updates.append import Appender, AppendOptions
from producer.updates.chunking import iter_chunks
from producer.updates.connections import Connections, RedisConnection

T = TypeVar("T")


def load_settings(redis_url: str | None, broker_url: str | None, spool_url: str | None) -> Settings:
    """The environment's settings, with the addresses that are given.

    Raises:
        ConfigurationError: a value is not valid; names the variable.
    """
    given = {"redis_url": redis_url, "celery_broker_url": broker_url, "spool_url": spool_url}
    return Settings.load(**{name: value for name, value in given.items() if value})


class Producer:
    """Hands work over to the workers. Needs Redis, and the spool for imports; never the database.

    Costs nothing until its first use, and then a connection for each thread that uses it at a time.
    Threads may share it. Forked processes may inherit it, used or not; only a process that imported a
    file must not be forked to import more: the spool's client then raises `ConfigurationError`.

    No call waits without end. A server that is frozen costs `update` twice `REDIS_TIMEOUT`: once for
    an answer, once to connect anew. One that freezes and thaws at the worst moments of both tries costs
    five times that and 6 s. `update_many` takes that for each chunk, and what was asked for comes on
    top: `wait_for_room`, and with `durable` twice `REDIS_TIMEOUT`.
    """

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        broker_url: str | None = None,
        spool_url: str | None = None,
    ) -> None:
        """Addresses that are not given come from the environment (`REDIS_URL`, …).

        Raises:
            ConfigurationError: an address is missing or wrong; names the variable.
        """
        self._settings = settings = load_settings(redis_url, broker_url, spool_url)
        self._redis = make_redis(settings.stream, settings.redis_timeout)
        self._connections = Connections(self._redis)
        self._appender = Appender(settings)
        self._nudges = Nudges(settings.broker)

    @classmethod
    def from_settings(cls) -> Self:
        """A producer for the servers that the environment names."""
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Nothing waits to be sent: what was accepted is accepted."""
        self._nudges.close()
        self._connections.close()
        self._redis.close()

    @overload
    def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: Literal[False] = False,
    ) -> str: ...
    @overload
    def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: Literal[True],
    ) -> Receipt: ...
    def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: bool = False,
    ) -> str | Receipt:
        """Accept one update; its entry id, which also is its place in the order of acceptance.

        Args:
            update: what is to change.
            wait_for_room: seconds to wait while too many updates wait already.
            durable: return only when the server has the update on disk.
            track: keep the verdict for `VERDICT_TTL`, and return a receipt to wait for it.

        Raises:
            InvalidUpdate: it is not an OrderUpdate.
            Backpressure: too many updates wait already.
            Unavailable: Redis did not answer. It may have accepted the update all the same; it is
                safe to send it again if it has a version of its own, which was done once.
            NotDurable: it is accepted, but not known to be on disk.
            ConfigurationError: `durable` is asked of a server that keeps no file.
        """
        wanted = AppendOptions(wait_for_room, durable, track)
        entry = self._run(self._appender.append_one(update, wanted))
        return self.receipt(update.order_id, entry) if track else entry

    def receipt(self, order_id: int, entry: str) -> Receipt:
        """The receipt for a tracked update, from its entry id: for others than who handed it over."""
        return Receipt(entry, self._appender.shard_of_order(order_id), self._run)

    def update_many(
        self,
        updates: Iterable[OrderUpdate],
        *,
        wait_for_room: float = 0,
        durable: bool = False,
    ) -> int:
        """Accept any number of updates, a thousand a round trip; how many were accepted.

        Updates of one order keep their order.

        Args:
            updates: any iterable; read chunk by chunk.
            wait_for_room: seconds to wait while too many updates wait already, for each chunk anew.
            durable: go on only when the server has the chunk on disk. Chunks are of 10,000 then; each
                waits for an fsync, about 0.1 s with `appendfsync everysec` on Valkey 9.1.

        Raises:
            PartlyAccepted: it stopped part way; says how many were accepted and which were not. Its
                cause is one of the errors that `update` raises, or the iterable's.
            InvalidUpdate: the first update already is not valid. So for whatever else the iterable
                raises before anything is accepted.
            ConfigurationError, Unavailable: `durable` is asked of a server that keeps no file, or
                does not say so.
        """
        wanted = AppendOptions(wait_for_room, durable)
        accepted = 0
        self._run(self._appender.ensure_durable(wanted))
        for chunk in iter_chunks(updates, self._appender.chunk_size(wanted)):
            accepted = self._run(self._appender.append_chunk(chunk, accepted, wanted))
        return accepted

    def import_file(  # noqa: PLR0913 - each option has a name in the public signature
        self,
        source: ImportSource,
        *,
        kind: str | None = None,
        mapping: Mapping[str, str] | None = None,
        delimiter: str | None = None,
        preset: str | None = None,
        strict: bool = False,
        max_rejects: int | None = None,
        create_customers: bool = False,
        parent: str | None = None,
        again: bool = False,
        dry_run: bool = False,
        keep: bool = False,
    ) -> ImportJob:
        """Accept a file of orders or customers; return the job, which can be waited for.

        Args:
            source: a path, a file object opened for reading bytes, the content itself (bytes,
                bytearray or memoryview), a table of polars, pandas or pyarrow, or any iterable of
                mappings, one for each row. Files are CSV, JSON Lines or Parquet, uncompressed or
                compressed by gzip or zstd. Read once, in constant memory.
            kind: `orders` or `customers`; default: that of the preset or the parent, or orders.
            mapping: names of the file's columns by names of ours: `{"total": "o_totalprice"}`.
            delimiter: one character; detected by default.
            preset: name of a table of the file `IMPORT_PRESETS`, with values for options that are not
                given here.
            strict: apply all rows, or none if one is rejected.
            max_rejects: load no further chunk after more rejected rows than this.
            create_customers: create customers that orders refer to and that do not exist.
            parent: id of the import whose rejected rows this file has, corrected, in the format of
                `orderworks rejects ID --format csv`. Kind, mapping and create_customers are the
                parent's by default; a week after its end, kind and mapping have to be given.
            again: import the file although the same content was imported with the same options
                before. Otherwise the job of that import is returned, and its `repeated` is true.
            dry_run: report what the import would do, and change nothing.
            keep: keep the file of the dry run for six hours, for `import_tried`.

        Raises:
            InvalidInput: an option is invalid, or two of them contradict each other.
            InvalidFile: the file as a whole cannot be accepted. Nothing is imported.
            ConfigurationError: there is no such preset, or it is invalid.
            Unavailable: the spool or Redis did not answer. Nothing is imported.
        """
        options = complete_options(select_options(locals()), self._settings, self._redis)
        job = accept_import(
            source,
            options,
            spool=Spool(self._settings.spool),
            stream=self._redis,
            settings=self._settings,
        )
        return self._nudge(job)

    def import_tried(self, import_id: str, *, again: bool = False) -> ImportJob:
        """Import the file that a dry run kept, with the dry run's options and id; return the job.

        Its version, its place in the order of all writes, is the current time. `again` is as for
        `import_file`.

        Raises:
            WrongState: no file of that dry run is kept: it is not done, was imported, or is too old.
            Unavailable: the spool or Redis did not answer. Nothing is imported.
        """
        job = accept_kept_file(
            import_id, again=again, spool=Spool(self._settings.spool), stream=self._redis
        )
        return self._nudge(job)

    def _nudge(self, job: ImportJob) -> ImportJob:
        if not job.repeated:
            self._nudges.send(TaskName.PLAN_IMPORT, job.id)
        return job

    def _run(self, steps: ProducerSteps[T]) -> T:
        performer = _Performer(self._connections, self._nudges)
        try:
            return run_sync(steps, performer.perform)
        finally:
            if performer.held:
                self._connections.discard(performer.held)


class _Performer:
    """Performs the effects of one call.

    Attributes:
        held: the connection that a later round trip of the call needs.
    """

    __slots__ = ("_connections", "_nudges", "held")

    def __init__(self, connections: Connections, nudges: Nudges) -> None:
        self._connections = connections
        self._nudges = nudges
        self.held: RedisConnection | None = None

    def perform(self, effect: ProducerEffect) -> Replies | None:
        if isinstance(effect, RoundTrip):
            replies, self.held = self._connections.exchange(effect, self.held)
            return replies
        if isinstance(effect, NudgeEffect):
            self._nudges.send(TaskName.DRAIN_UPDATES, effect.shard)
        else:
            time.sleep(effect.seconds)
        return None
