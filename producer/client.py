"""The producer: accept order updates and import files, so that workers apply them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Self

import redis

from orders.errors import Backpressure, InvalidUpdate, PartlyAccepted, Unavailable
from orders.imports.spool import Spool
from orders.messages import OrderUpdate
from orders.names import TaskName
from orders.redis import make_redis, redis_unavailable
from orders.settings import Settings
from orders.stream import UpdateStream
from producer.imports import ImportJob, Source, accept_import
from producer.nudges import Nudges

CHUNK = 1000
"""Updates sent in one go by `update_many`: past this, larger ones bring nothing."""


class Producer:
    """Hands work over to the workers. Needs Redis, and the spool for imports; never the database.

    Opens its connections on first use, waits `REDIS_TIMEOUT` seconds at the most for an answer, and
    may be shared by threads and inherited by forks.
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
            Backpressure: too many updates wait already.
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

    def import_file(
        self,
        source: Source,
        *,
        kind: str = "orders",
        mapping: Mapping[str, str] | None = None,
        delimiter: str = ",",
    ) -> ImportJob:
        """Accept a CSV file of orders or customers; the job to wait for.

        Args:
            source: a path, a binary file object, or bytes. Read once, in constant memory.
            kind: `orders` or `customers`.
            mapping: names of the file's columns by names of ours: `{"total": "o_totalprice"}`.
            delimiter: one character.

        Raises:
            InvalidFile: the file as a whole cannot be accepted. Nothing is imported.
            Unavailable: the spool or Redis did not answer. Nothing is imported.
        """
        spool = Spool(self._settings.spool)
        import_id = accept_import(
            source,
            kind=kind,
            mapping=mapping or {},
            delimiter=delimiter,
            spool=spool,
            stream=self._redis,
        )
        self._nudges.send(TaskName.PLAN_IMPORT, import_id)
        return ImportJob(import_id, self._redis)

    def _append_chunk(self, chunk: list[OrderUpdate], accepted_before: int) -> int:
        """Append a chunk shard by shard; how many that were."""
        waiting: dict[int, list[OrderUpdate]] = {}
        for update in chunk:
            waiting.setdefault(self._stream.shard_of(update.order_id), []).append(update)
        for shard in list(waiting):
            try:
                self._append(shard, waiting[shard])
            except (Backpressure, Unavailable) as failure:
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
