"""Intake of updates sent inside Celery messages by clients in any language.

Such a message may be delivered twice, late, or in any order, so each update must have a version of its
own. Valid updates are appended to the stream; invalid ones become dead letters.
"""

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec
import redis
import sqlalchemy as sa
import structlog

from orderworks.core.database import retry_transient
from orderworks.core.errors import Backpressure, ConfigurationError, InvalidUpdate
from orderworks.core.routing import INGEST, Nudge
from orderworks.updates import dead_letters, outbox
from orderworks.updates.counters import add_to_counters
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import OrderUpdate, Verdict, decode_updates
from orderworks.updates.stream import UpdateStream

T = TypeVar("T")

log = structlog.get_logger()

BATCH_SIZE = 1000
"""Updates that are appended, or dead-lettered, at once."""


class IngestResult(msgspec.Struct, frozen=True):
    """The outcome of a message.

    Attributes:
        accepted: number of accepted updates.
        dead: number of invalid updates, which are dead letters.
    """

    accepted: int
    dead: int


class UpdateIngest:
    """Accepts the updates of messages. The same message a second time has no effect on any order."""

    def __init__(self, engine: sa.Engine, stream: UpdateStream, nudge: Nudge) -> None:
        self._engine = engine
        self._stream = stream
        self._nudge = nudge

    def ingest(self, updates: object) -> IngestResult:
        """Append valid updates, and dead-letter the others.

        If the stream is full or unavailable, the updates go into the outbox: it is drained by the same
        code, and needs disk, not Redis.

        Raises:
            sa.exc.SQLAlchemyError: PostgreSQL is needed, and unavailable. Retry the whole call.
        """
        if not isinstance(updates, list):
            return self._reject_payload(updates)
        documents = [_canonical_json(each) for each in updates]
        decoded = [_require_version(each) for each in decode_updates(documents)]
        invalid = [
            _invalid_update(document, each)
            for document, each in zip(documents, decoded, strict=True)
            if isinstance(each, InvalidUpdate)
        ]
        # First: if it fails nothing was appended, so that a retry appends nothing twice.
        self._dead_letter(invalid)
        valid = [each for each in decoded if isinstance(each, OrderUpdate)]
        self._append_or_enqueue(valid)
        return IngestResult(len(valid), len(invalid))

    def _reject_payload(self, updates: object) -> IngestResult:
        """Dead-letter the whole payload: a client that sends no list will repeat that until noticed."""
        type_name = type(updates).__name__
        log.error("updates_payload_invalid", type=type_name)
        problem = InvalidUpdate("updates", f"{type_name} is not a list")
        self._dead_letter([_invalid_update(_canonical_json(updates), problem)])
        return IngestResult(0, 1)

    def _dead_letter(self, dead: Sequence[AcceptedUpdate]) -> None:
        """Add dead letters and count them; those that were added before are skipped."""
        # Sorted, so that two calls do not deadlock.
        ordered = sorted(dead, key=lambda each: each.entry)
        for batch in _batches_of(ordered):
            self._dead_letter_batch(batch)

    @retry_transient
    def _dead_letter_batch(self, dead: Sequence[AcceptedUpdate]) -> None:
        with self._engine.begin() as connection:
            new = dead_letters.dead_letter(connection, INGEST, dead)
            verdicts = {Verdict.DEAD: new}
            add_to_counters(connection, INGEST, accepted=new, last_entry=0, verdicts=verdicts)

    def _append_or_enqueue(self, updates: Sequence[OrderUpdate]) -> None:
        """Append the updates shard by shard; put those that the stream refuses into the outbox."""
        not_appended: list[OrderUpdate] = []
        batches = self._batches(updates)
        for shard, batch in batches:
            try:
                self._append(shard, batch)
            except (Backpressure, ConfigurationError) as refusal:
                not_appended += _log_fallback(batch, refusal)
            except redis.RedisError as error:
                # It may have been appended. The rest is not tried: each attempt may take long.
                rest = [update for _shard, others in batches for update in others]
                not_appended += _log_fallback([*batch, *rest], error)
        if not_appended:
            self._enqueue(not_appended)

    def _batches(
        self, updates: Sequence[OrderUpdate]
    ) -> Iterator[tuple[int, Sequence[OrderUpdate]]]:
        by_shard: dict[int, list[OrderUpdate]] = {}
        for update in updates:
            by_shard.setdefault(self._stream.shard_of(update.order_id), []).append(update)
        for shard, of_shard in by_shard.items():
            for batch in _batches_of(of_shard):
                yield shard, batch

    def _append(self, shard: int, updates: Sequence[OrderUpdate]) -> None:
        appended = self._stream.append(shard, [update.encode() for update in updates])
        if appended.needs_nudge:
            self._nudge(shard)

    @retry_transient
    def _enqueue(self, updates: Sequence[OrderUpdate]) -> None:
        with self._engine.begin() as connection:
            outbox.enqueue(connection, updates)


def _canonical_json(item: object) -> bytes:
    """Return the item as JSON, the same bytes each time it is sent.

    NaN and the like are written as such, which is invalid JSON: so they are refused, not read as null.
    """
    try:
        text = json.dumps(
            item, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str
        )
    except RecursionError:
        text = '"a value that is nested too deeply"'
    return text.encode("utf-8", "surrogatepass")


def _require_version(update: OrderUpdate | InvalidUpdate) -> OrderUpdate | InvalidUpdate:
    if isinstance(update, OrderUpdate) and update.version is None:
        return InvalidUpdate(
            "version", "is missing: a message may be delivered twice, late, or in any order"
        )
    return update


def _invalid_update(document: bytes, problem: InvalidUpdate) -> AcceptedUpdate:
    """Return a dead letter, identified by a fingerprint of its content instead of a stream entry."""
    fingerprint = int.from_bytes(blake2b(document, digest_size=8).digest()) >> 1
    dead = AcceptedUpdate(entry=fingerprint, payload=document)
    dead.settle(Verdict.DEAD, f"cannot be read: {problem}")
    return dead


def _log_fallback(updates: Sequence[OrderUpdate], cause: Exception) -> Sequence[OrderUpdate]:
    log.warning("updates_routed_to_outbox", updates=len(updates), error=str(cause))
    return updates


def _batches_of(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]
