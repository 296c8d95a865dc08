"""The standard door: updates that Celery clients in any language send within a message.

Such a message may come twice, late, or in any order, so each update has to have a version of its own.
What is one goes into the stream, and from there the way of every other. What is none is buried.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec
import redis
import sqlalchemy as sa
import structlog

from orderworks.core.database import retry_transient
from orderworks.core.errors import Backpressure, ConfigurationError, InvalidUpdate
from orderworks.core.routing import INGEST
from orderworks.updates import dead_letters, outbox
from orderworks.updates.counters import add_to_counters
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import OrderUpdate, Verdict, decode_updates
from orderworks.updates.stream import UpdateStream

T = TypeVar("T")

log = structlog.get_logger()

BATCH_SIZE = 1000
"""Updates that are appended, or letters that are buried, in one go."""

Nudge = Callable[[int], None]
"""Asks for a drain of the shard. One that is lost is made up for by the sweep."""


class IngestResult(msgspec.Struct, frozen=True):
    """How many updates of a message were accepted, and how many were none and are dead letters."""

    accepted: int
    dead: int


class UpdateIngest:
    """Lets the updates of messages in. Letting the same in twice has no effect on any order."""

    def __init__(self, engine: sa.Engine, stream: UpdateStream, nudge: Nudge) -> None:
        self._engine = engine
        self._stream = stream
        self._nudge = nudge

    def ingest(self, updates: object) -> IngestResult:
        """Accept what is an update, bury what is none.

        What the stream does not take, because it is full or away, goes into the outbox: that is
        drained by the same code, needs no Redis, and its memory is the disk.

        Raises:
            sa.exc.SQLAlchemyError: PostgreSQL is needed, and away. Let the whole in again.
        """
        if not isinstance(updates, list):
            return self._reject_payload(updates)
        documents = [_canonical_json(each) for each in updates]
        read = [_require_version(each) for each in decode_updates(documents)]
        pairs = zip(documents, read, strict=True)
        # Buried first: if that fails nothing was appended, and letting it in again doubles nothing.
        dead = [
            _invalid_update(document, each)
            for document, each in pairs
            if isinstance(each, InvalidUpdate)
        ]
        self._dead_letter(dead)
        good = [each for each in read if isinstance(each, OrderUpdate)]
        self._append_or_enqueue(good)
        return IngestResult(len(good), len(dead))

    def _reject_payload(self, updates: object) -> IngestResult:
        """Bury the whole: who sends something else than a list does so each time, and has to know."""
        what = type(updates).__name__
        log.error("updates_are_no_list", type=what)
        self._dead_letter(
            [
                _invalid_update(
                    _canonical_json(updates), InvalidUpdate("updates", f"{what} is not a list")
                )
            ]
        )
        return IngestResult(0, 1)

    def _dead_letter(self, dead: Sequence[AcceptedUpdate]) -> None:
        """Keep each among the dead letters and count it, once however often it comes."""
        # Sorted, so that two do not lock each other out.
        ordered = sorted(dead, key=lambda each: each.entry)
        for piece in _slices(ordered):
            self._dead_letter_batch(piece)

    @retry_transient
    def _dead_letter_batch(self, dead: Sequence[AcceptedUpdate]) -> None:
        with self._engine.begin() as connection:
            new = dead_letters.dead_letter(connection, INGEST, dead)
            given = {Verdict.DEAD: new}
            add_to_counters(connection, INGEST, accepted=new, last_entry=0, verdicts=given)

    def _append_or_enqueue(self, updates: Sequence[OrderUpdate]) -> None:
        """Append them shard by shard, and enqueue what the stream does not take."""
        left: list[OrderUpdate] = []
        batches = self._batches(updates)
        for shard, batch in batches:
            try:
                self._append(shard, batch)
            except (Backpressure, ConfigurationError) as refused:
                left += _log_fallback(batch, refused)
            except redis.RedisError as away:
                # Whether it was appended is not known. Nor is the rest tried: each try may take long.
                rest = [update for _shard, others in batches for update in others]
                left += _log_fallback([*batch, *rest], away)
        if left:
            self._enqueue(left)

    def _batches(
        self, updates: Sequence[OrderUpdate]
    ) -> Iterator[tuple[int, Sequence[OrderUpdate]]]:
        by_shard: dict[int, list[OrderUpdate]] = {}
        for update in updates:
            by_shard.setdefault(self._stream.shard_of(update.order_id), []).append(update)
        for shard, of_shard in by_shard.items():
            for piece in _slices(of_shard):
                yield shard, piece

    def _append(self, shard: int, updates: Sequence[OrderUpdate]) -> None:
        appended = self._stream.append(shard, [update.encode() for update in updates])
        if appended.needs_nudge:
            self._nudge(shard)

    @retry_transient
    def _enqueue(self, updates: Sequence[OrderUpdate]) -> None:
        with self._engine.begin() as connection:
            outbox.enqueue(connection, updates)


def _canonical_json(item: object) -> bytes:
    """What the client sent, as bytes that are the same each time it comes.

    NaN and the like stay what they are, which is no JSON: so they are refused and not read as null.
    """
    try:
        text = json.dumps(
            item, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str
        )
    except RecursionError:
        text = '"something that is nested too deep to be kept"'
    return text.encode("utf-8", "surrogatepass")


def _require_version(update: OrderUpdate | InvalidUpdate) -> OrderUpdate | InvalidUpdate:
    if isinstance(update, OrderUpdate) and update.version is None:
        return InvalidUpdate("version", "is missing: a message may come twice, late, in any order")
    return update


def _invalid_update(document: bytes, problem: InvalidUpdate) -> AcceptedUpdate:
    """What is to be buried. In place of a place it has a fingerprint, by which it is known again."""
    fingerprint = int.from_bytes(blake2b(document, digest_size=8).digest()) >> 1
    dead = AcceptedUpdate(entry=fingerprint, payload=document)
    dead.settle(Verdict.DEAD, f"cannot be read: {problem}")
    return dead


def _log_fallback(updates: Sequence[OrderUpdate], cause: Exception) -> Sequence[OrderUpdate]:
    log.warning("updates_left_to_outbox", updates=len(updates), error=str(cause))
    return updates


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]
