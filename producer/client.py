"""The producer: accept order updates and import files, so that workers apply them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Self

import msgspec
import redis

from orders.errors import (
    Backpressure,
    ConfigurationError,
    InvalidUpdate,
    PartlyAccepted,
    Unavailable,
)
from orders.imports.options import Options
from orders.imports.presets import Preset, read_preset
from orders.imports.spool import Spool
from orders.messages import OrderUpdate
from orders.names import TaskName
from orders.redis import make_redis, redis_unavailable
from orders.settings import Settings
from orders.stream import UpdateStream
from producer.imports import ImportJob, Source, accept_import
from producer.nudges import Nudges
from producer.options import known_kind, over_parent, refuse_unknown_parent

CHUNK = 1000
"""Updates sent in one go by `update_many`: past this, larger ones bring nothing."""


class Producer:
    """Hands work over to the workers. Needs Redis, and the spool for imports; never the database.

    Opens its connections on first use, waits `REDIS_TIMEOUT` seconds at the most for an answer, and
    may be shared by threads. Forked processes may inherit it, but a process that imported a file must
    not be forked to import more: the spool's client then raises `ConfigurationError`.
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
        given = {"redis_url": redis_url, "celery_broker_url": broker_url, "spool_url": spool_url}
        settings = Settings.load(**{name: value for name, value in given.items() if value})
        self._settings = settings
        self._redis = make_redis(settings.stream, settings.redis_timeout)
        self._stream = UpdateStream(self._redis, settings.update_shards, settings.stream_limit)
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
        self._redis.close()

    def update(self, update: OrderUpdate) -> str:
        """Accept one update; its entry id, which also is its place in the order of acceptance.

        Raises:
            InvalidUpdate: it is not an OrderUpdate.
            Backpressure: too many updates wait already, or the layout of the streams changes.
            ConfigurationError: UPDATE_SHARDS is another number than that of the streams.
            Unavailable: Redis did not answer. It may have accepted the update all the same; it is
                safe to send it again if it has a version of its own.
        """
        shard = self._stream.shard_of(_checked(update).order_id)
        return self._append(shard, [update])[0]

    def update_many(self, updates: Iterable[OrderUpdate]) -> int:
        """Accept any number of updates, a thousand a round trip; how many were accepted.

        Updates of one order keep their order.

        Raises:
            PartlyAccepted: it stopped part way; says how many were accepted and which were not.
            InvalidUpdate: the first update already is not valid. So for whatever else the iterable
                raises before anything is accepted.
        """
        accepted = 0
        for chunk, failure in _chunks(updates):
            accepted += self._append_chunk(chunk, accepted)
            if failure is not None and accepted:
                raise PartlyAccepted(accepted, [], [], failure) from failure
            if failure is not None:
                raise failure
        return accepted

    def import_file(  # noqa: PLR0913 - all that can be said of a file, each by its name
        self,
        source: Source,
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
    ) -> ImportJob:
        """Accept a file of orders or customers; the job to wait for.

        Args:
            source: a path, a file object that gives bytes, the content itself (bytes, bytearray or
                memoryview), a table of polars, pandas or pyarrow, or any iterable of mappings, each
                one a row. Files are CSV, JSON Lines or Parquet, plain or packed by gzip or zstd.
                Read once, in constant memory.
            kind: `orders` or `customers`; orders unless preset or parent say otherwise.
            mapping: names of the file's columns by names of ours: `{"total": "o_totalprice"}`.
            delimiter: one character; found out if it is not given.
            preset: the name of a table of the file `IMPORT_PRESETS`. It fills what is not given here.
            strict: all rows or none.
            max_rejects: with more rejected rows than this, what is not loaded yet is not.
            create_customers: customers that orders name and nobody knows are made.
            parent: the import whose rejects this file brings, mended, as
                `orderworks rejects ID --format csv` wrote them. Kind, mapping and create_customers
                are those of its; a week after its last word, kind and mapping have to be given.
            again: import it although the same content was imported in the same way before. Otherwise
                the answer is the job of that import, and its `repeated` is true.
            dry_run: say what would be, and change nothing.

        Raises:
            InvalidInput: two of these contradict each other.
            InvalidFile: the file as a whole cannot be accepted. Nothing is imported.
            ConfigurationError: there is no such preset, or it is wrong.
            Unavailable: the spool or Redis did not answer. Nothing is imported.
        """
        usual = self._usual(preset)
        if parent is not None:
            usual = self._usual_of_child(usual, parent, kind, mapping)
        if strict or max_rejects is not None:
            usual = msgspec.structs.replace(usual, strict=None, max_rejects=None)
        options = Options(
            kind=known_kind(kind or usual.kind or "orders"),
            mapping={**usual.map, **(mapping or {})},
            delimiter=usual.delimiter if delimiter is None else delimiter,
            strict=strict or bool(usual.strict),
            max_rejects=usual.max_rejects if max_rejects is None else max_rejects,
            create_customers=create_customers or bool(usual.create_customers),
            parent=parent,
            again=again,
            dry_run=dry_run,
        )
        return self._import(source, options)

    def _usual(self, preset: str | None) -> Preset:
        """What counts where the caller says nothing."""
        return read_preset(self._settings.import_presets, preset) if preset else Preset()

    def _usual_of_child(
        self, usual: Preset, parent: str, kind: str | None, mapping: Mapping[str, str] | None
    ) -> Preset:
        """What counts for mended rejects where the caller and the preset say nothing: the parent."""
        # The sheet has commas, or what a spreadsheet made of them, whatever the preset's files have.
        usual = msgspec.structs.replace(usual, delimiter=None)
        summary = ImportJob(parent, self._redis).progress()
        if summary is None:
            refuse_unknown_parent(parent, kind or usual.kind, mapping or usual.map or mapping)
            return usual
        return over_parent(usual, summary)

    def _import(self, source: Source, options: Options) -> ImportJob:
        job = accept_import(
            source,
            options,
            spool=Spool(self._settings.spool),
            stream=self._redis,
            settings=self._settings,
        )
        if not job.repeated:
            self._nudges.send(TaskName.PLAN_IMPORT, job.id)
        return job

    def _append_chunk(self, chunk: list[OrderUpdate], accepted_before: int) -> int:
        """Append a chunk shard by shard; how many that were."""
        waiting: dict[int, list[OrderUpdate]] = {}
        for update in chunk:
            waiting.setdefault(self._stream.shard_of(update.order_id), []).append(update)
        for shard in list(waiting):
            try:
                self._append(shard, waiting[shard])
            except (Backpressure, ConfigurationError, Unavailable) as failure:
                uncertain = waiting.pop(shard) if isinstance(failure, Unavailable) else []
                refused = [
                    update for update in chunk if self._stream.shard_of(update.order_id) in waiting
                ]
                accepted = accepted_before + len(chunk) - len(refused) - len(uncertain)
                raise PartlyAccepted(accepted, refused, uncertain, failure) from failure
            del waiting[shard]
        return len(chunk)

    def _append(self, shard: int, updates: list[OrderUpdate]) -> list[str]:
        """Append to a shard in one round trip, and nudge if nobody has."""
        try:
            appended = self._stream.append(shard, [update.encode() for update in updates])
        except redis.RedisError as error:
            raise redis_unavailable(error) from error
        if appended.needs_nudge:
            self._nudges.send(TaskName.DRAIN_UPDATES, shard)
        return appended.ids


def _checked(update: object) -> OrderUpdate:
    if not isinstance(update, OrderUpdate):
        raise InvalidUpdate("update", f"{type(update).__name__} is not an OrderUpdate")
    return update


def _chunks(
    updates: Iterable[OrderUpdate],
) -> Iterator[tuple[list[OrderUpdate], Exception | None]]:
    """Chunks of the iterable; if it fails, what it gave before, with its failure."""
    iterator = iter(updates)
    failure: Exception | None = None
    while failure is None:
        chunk: list[OrderUpdate] = []
        try:
            # Where the iterable fails, what it gave before is in the chunk already.
            chunk.extend(map(_checked, islice(iterator, CHUNK)))
        except Exception as error:  # noqa: BLE001 - whatever the caller's iterable raises is reported
            failure = error
        if not chunk and failure is None:
            return
        yield chunk, failure
