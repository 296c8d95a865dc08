"""The synchronous producer: it accepts order updates and import files, and workers apply them."""

import time
from collections.abc import Iterable
from typing import Literal, Self, TypeVar, Unpack, overload

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
from producer.imports.options import ImportKeywords, make_options, shows_keywords
from producer.imports.sources.open_source import ImportSource
from producer.nudges import Nudges
from producer.receipts import Receipt
from producer.updates.append import Appender, AppendOptions
from producer.updates.chunking import iter_chunks
from producer.updates.connections import Connections, RedisConnection

T = TypeVar("T")


def load_settings(redis_url: str | None, broker_url: str | None, spool_url: str | None) -> Settings:
    """Return the settings of the environment, with the given addresses in place of its own.

    Raises:
        ConfigurationError: a value is not valid; the message names the variable.
    """
    given = {"redis_url": redis_url, "celery_broker_url": broker_url, "spool_url": spool_url}
    return Settings.load(**{name: value for name, value in given.items() if value})


class Producer:
    """Accepts order updates and import files for the workers.

        with Producer.from_settings() as producer:
            producer.update(OrderUpdate(order_id=42, total="19.99", status="paid"))

    It needs Redis, and the spool for imports; never the database. When `update` returns an id, the
    update is in Redis, and the workers apply it, if necessary when they run again.

    A process should make one producer and keep it. It opens no connection before its first use, and then
    one for each thread that uses it at the same time. Threads may share it. Forked processes may inherit
    it, used or not. Only after an import of a file a forked process cannot import: the client of the
    spool then raises `ConfigurationError`.

    Every call ends within a bounded time. With a frozen server, `update` takes twice `REDIS_TIMEOUT`:
    once for the reply, once for a new connection. If the server freezes and resumes at the worst moments
    of both attempts, it takes five times `REDIS_TIMEOUT` and 6 s. `update_many` may take that for each
    chunk. `wait_for_room`, and with `durable` twice `REDIS_TIMEOUT`, are added.
    """

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        broker_url: str | None = None,
        spool_url: str | None = None,
    ) -> None:
        """Make a producer. Connections are opened on first use.

        Args:
            redis_url: address of the Redis or Valkey that has the update stream; default `REDIS_URL`.
            broker_url: address of Celery's broker; default `CELERY_BROKER_URL`, otherwise `redis_url`.
            spool_url: address of the spool for import files; default `SPOOL_URL`.

        Raises:
            ConfigurationError: an address is missing or invalid; the message names the variable.
        """
        self._settings = settings = load_settings(redis_url, broker_url, spool_url)
        self._redis = make_redis(settings.stream, settings.redis_timeout)
        self._connections = Connections(self._redis)
        self._appender = Appender(settings)
        self._nudges = Nudges(settings.broker)

    @classmethod
    def from_settings(cls) -> Self:
        """Make a producer for the servers that the environment names."""
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Nothing is buffered: every accepted update is in Redis already."""
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
        """Accept an update: append it to the stream, from which the workers apply it.

        Args:
            update: the change of an order.
            wait_for_room: seconds to wait while the stream is full, before `Backpressure` is raised.
            durable: return only when the server has the update on disk.
            track: have the verdict published for `VERDICT_TTL` seconds, and return a receipt.

        Returns:
            The entry id, `milliseconds-sequence`: its position in the order of acceptance. With `track`
            a `Receipt`, to wait for the verdict.

        Raises:
            InvalidUpdate: `update` is not an OrderUpdate.
            Backpressure: the stream is full, or its layout is being changed. Try again later.
            Unavailable: Redis did not reply, so the update may or may not be accepted. If it has a
                version, it is safe to send it again, which the producer has already tried once.
            NotDurable: the update is accepted, but may not be on disk.
            ConfigurationError: the server cannot confirm what it has on disk, which `durable` requires;
                or `UPDATE_SHARDS` is not the number of shards over which updates are spread.
        """
        options = AppendOptions(wait_for_room, durable, track)
        entry = self._run(self._appender.append_one(update, options))
        return self.receipt(update.order_id, entry) if track else entry

    def receipt(self, order_id: int, entry: str) -> Receipt:
        """Return the receipt of a tracked update from its order and entry id.

        So a process can wait for the verdict of an update that another one has sent.
        """
        return Receipt(entry, self._appender.shard_of_order(order_id), self._run)

    def update_many(
        self, updates: Iterable[OrderUpdate], *, wait_for_room: float = 0, durable: bool = False
    ) -> int:
        """Accept any number of updates, a thousand in each round trip; return their number.

        Updates of one order are applied in their order in the iterable. An error does not undo what is
        accepted: `PartlyAccepted` lists what is not.

        Args:
            updates: any iterable; it is read chunk by chunk, in constant memory.
            wait_for_room: seconds to wait while the stream is full, for each chunk.
            durable: continue only when the server has the chunk on disk. Chunks then have 10,000
                updates, and each waits for an fsync: about 0.1 s with `appendfsync everysec` on Valkey
                9.1.

        Raises:
            PartlyAccepted: it stopped part way. The error has the number of accepted updates, and those
                that are not accepted; its `__cause__` is an error of `update` or of the iterable.
            InvalidUpdate: the first item is not an OrderUpdate. If the iterable raises before an update
                is accepted, its own error is raised.
            ConfigurationError: the server cannot confirm what it has on disk, which `durable` requires.
            Unavailable: with `durable`, the server did not reply before the first chunk.
        """
        options = AppendOptions(wait_for_room, durable)
        accepted = 0
        self._run(self._appender.ensure_durable(options))
        for chunk in iter_chunks(updates, self._appender.chunk_size(options)):
            accepted = self._run(self._appender.append_chunk(chunk, accepted, options))
        return accepted

    @shows_keywords
    def import_file(self, source: ImportSource, **options: Unpack[ImportKeywords]) -> ImportJob:
        """Accept a file of orders or customers: copy it to the spool, from which the workers load it.

        Args:
            source: a path, a file object opened for reading bytes, the content itself (bytes,
                bytearray or memoryview), a table of polars, pandas or pyarrow, or any iterable of
                mappings, one for each row. Files are CSV, JSON Lines or Parquet, uncompressed or
                compressed by gzip or zstd. Read once, in constant memory.
            options: as `ImportKeywords` documents them; `help()` shows them below.

        Returns:
            The job, to wait for the end of the import.

        Raises:
            InvalidInput: an option is invalid, or two of them contradict each other.
            InvalidFile: the file as a whole cannot be accepted. Nothing is imported.
            ConfigurationError: there is no such preset, or it is invalid.
            Unavailable: the spool or Redis did not respond. Nothing is imported.
        """
        completed = complete_options(make_options(options), self._settings, self._redis)
        spool = Spool(self._settings.spool)
        job = accept_import(
            source, completed, spool=spool, stream=self._redis, settings=self._settings
        )
        return _nudged(job, self._nudges)

    def import_tried(self, import_id: str, *, again: bool = False) -> ImportJob:
        """Import the file that a dry run has kept, with its options; return the job.

        The import is accepted now: earlier writes of its orders are older, later ones newer.

        Args:
            import_id: the id of the dry run, which becomes that of the import.
            again: as for `import_file`.

        Raises:
            WrongState: no file of this dry run is kept: it is not done, was imported, or is too old.
            Unavailable: the spool or Redis did not respond. Nothing is imported.
        """
        spool = Spool(self._settings.spool)
        job = accept_kept_file(import_id, again=again, spool=spool, stream=self._redis)
        return _nudged(job, self._nudges)

    def _run(self, steps: ProducerSteps[T]) -> T:
        performer = _Performer(self._connections, self._nudges)
        try:
            return run_sync(steps, performer.perform)
        finally:
            if performer.held:
                self._connections.discard(performer.held)


def _nudged(job: ImportJob, nudges: Nudges) -> ImportJob:
    """Return the job, after a nudge to plan it; an import that was accepted before needs none."""
    if not job.repeated:
        nudges.send(TaskName.PLAN_IMPORT, job.id)
    return job


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
