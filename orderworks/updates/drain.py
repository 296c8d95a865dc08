"""The drain of a source: read the waiting updates, apply them, publish the verdicts, remove the updates.

A batch is one transaction under the shard's lock. Verdicts are counted in that transaction, so that the
counters are consistent after a crash. After a crash before the commit, the updates are still in the
source. After a crash after it, those of a stream are read again: their versions make them ineffective,
and `last_entry` shows that they were counted.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile

import msgspec
import redis
import sqlalchemy as sa
import structlog

from orderworks.cache.invalidation import invalidate_and_record
from orderworks.changelog import touched_customers
from orderworks.core.database import (
    is_data_error,
    is_lock_timeout,
    may_be_of_one_row,
    retry_unless_locked,
)
from orderworks.core.errors import OrderworksError
from orderworks.core.lock_holders import LockHolder
from orderworks.core.locks import Bounds, Lock, try_lock, try_lock_bounded
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates import parking, tracked_verdicts
from orderworks.updates.apply import apply_at_once, apply_updates, set_aside
from orderworks.updates.batch_steps import AT_ONCE, CAREFULLY, BatchFailed, Step
from orderworks.updates.bulk_write import MAX_REFUSED_CHANGES, TooManyRefused
from orderworks.updates.counters import ShardCounters, add_to_counters, read_counters
from orderworks.updates.entries import (
    AcceptedUpdate,
    Cause,
    ParsedUpdate,
    RawEntry,
    parse_entries,
)
from orderworks.updates.idle_policy import POLL_INTERVAL, IdlePolicy, pause_after_batch
from orderworks.updates.locked_rows import holder_of_written_table
from orderworks.updates.messages import UpdateOutcome, Verdict
from orderworks.updates.sources import UpdateSource

log = structlog.get_logger()

FIRST_BATCH = 1000
"""Updates of a run's first batch; the size doubles while batches are fast, up to UPDATE_BATCH."""

BATCH_SECONDS = 1.0
"""After a batch that took longer than this, batches are smaller: rows are locked for that time."""

ISOLATION_SECONDS = 10
"""Seconds by which a run may be longer, from each batch on whose session is lost: a server that crashed
needs some to start again, and the next run would begin with a large batch again."""

TABLE_LOCK_PAUSE = 1.0
"""Seconds before a drain ends that can apply nothing because another session has locked a table."""


class TableLocked(OrderworksError):
    """Another session has locked a table, so that no update can be applied."""

    def __init__(self, holder: LockHolder) -> None:
        super().__init__(f"{', '.join(holder.tables)} is locked by {holder}")
        self.holder = holder


class DrainResult(msgspec.Struct, frozen=True):
    """The outcome of a drain's run.

    Attributes:
        verdicts: number of each verdict given.
        more: whether the time slice ended before the source was empty.
    """

    verdicts: dict[str, int]
    more: bool


class Drain:
    """Drains a source. Make one for each run; of several at once, only one applies updates."""

    def __init__(
        self,
        engine: sa.Engine,
        source: UpdateSource,
        cache: Redis,
        settings: Settings,
        other_work_waits: Callable[[], bool] = lambda: True,
    ) -> None:
        """`other_work_waits` returns whether other work waits for this worker; then no drain idles."""
        self._engine = engine
        self._source = source
        self._cache = cache
        self._settings = settings
        self._shard = source.shard
        self._max_batch = settings.update_batch
        self._batch = min(FIRST_BATCH, self._max_batch)
        self._idle_policy = IdlePolicy(other_work_waits)
        self._timeout = self._deadline = 0.0
        self._has_failed = False
        self._verdicts: Counter[Verdict] = Counter()

    def run(self) -> DrainResult:
        """Apply batches until the source is empty, another drain is running, or the time is over."""
        started = time.monotonic()
        # One connection for all batches, checked once. If it is lost, SQLAlchemy makes a new one.
        with self._engine.connect() as connection:
            more = self._work_until(connection, started + self._settings.update_time_slice)
        counts = {verdict.value: count for verdict, count in self._verdicts.items()}
        if counts:
            milliseconds = round(1000 * (time.monotonic() - started))
            log.info("updates_drained", shard=self._shard, ms=milliseconds, **counts)
        return DrainResult(counts, more)

    def _work_until(self, connection: sa.Connection, deadline: float) -> bool:
        """Apply batches; return whether the deadline came before the source was empty."""
        self._deadline = deadline
        while time.monotonic() < self._deadline:
            batch_size = self._batch
            try:
                count = self._apply_batch(connection)
            except TooManyRefused:
                # Parked updates are added to a batch, so twice its size has to be below the limit.
                self._limit_batch(min(batch_size, MAX_REFUSED_CHANGES) // 2)
                continue
            except TableLocked as locked:
                return self._wait_for_table(connection, locked.holder)
            if count is None:
                # The other drain reads the source again after it has released the lock, or nudges when
                # its time is over; if it crashes, the sweep nudges.
                return False
            self._try_failed(connection)
            if count < batch_size:
                if self._should_stop(connection, count):
                    return False
                pause_after_batch(count)
        return True

    def _limit_batch(self, size: int) -> None:
        self._max_batch = self._batch = max(1, size)

    def _wait_for_table(self, connection: sa.Connection, holder: LockHolder) -> bool:
        """Leave the updates in their source; the sweep, or the next update, nudges again."""
        log.warning("updates_wait_for_table", shard=self._shard, **holder.fields())
        time.sleep(TABLE_LOCK_PAUSE)
        self._source.release(connection)
        return False

    def _should_stop(self, connection: sa.Connection, count: int) -> bool:
        """Return whether to end, after a batch of all `count` updates that there were."""
        waits = self._source.can_wait and self._idle_policy.should_wait(count)
        self._timeout = POLL_INTERVAL if waits else 0.0
        return not waits and self._source.release(connection)

    def _apply_batch(self, connection: sa.Connection) -> int | None:
        """Apply a batch; return its size, or None if another drain holds the lock.

        Raises:
            TooManyRefused: too many updates fail, or one ended the session: use a smaller batch.
            TableLocked: another session has locked a table, so that no update can be applied.
        """
        try:
            return self._apply(connection, Step(apply_at_once, AT_ONCE))
        except BatchFailed:
            pass
        except sa.exc.DBAPIError as error:
            # A deferred constraint refuses at the commit.
            if not (is_data_error(error) or is_lock_timeout(error)):
                raise
        self._require_unlocked_tables(connection)
        try:
            return self._apply(connection, Step(apply_updates, CAREFULLY))
        except BatchFailed as failed:
            return self._isolate(connection, failed)

    def _require_unlocked_tables(self, connection: sa.Connection) -> None:
        with connection.begin():
            if holder := holder_of_written_table(connection):
                raise TableLocked(holder)

    def _isolate(self, connection: sa.Connection, failed: BatchFailed) -> int | None:
        """Use smaller batches, down to one update, which is set aside: it ended the session."""
        if self._batch > 1:
            self._deadline = max(self._deadline, time.monotonic() + ISOLATION_SECONDS)
            raise TooManyRefused from failed
        count = self._apply(connection, Step(partial(set_aside, reason=failed.reason), AT_ONCE))
        self._limit_batch(self._settings.update_batch)
        return count

    def _try_failed(self, connection: sa.Connection) -> None:
        """Try the updates that failed before, each in a transaction of its own."""
        if not self._has_failed:
            return
        with connection.begin():
            locked = try_lock(connection, Lock.DRAIN, self._shard)
            entries = parking.begin_attempts(connection, self._shard) if locked else []
        for entry in entries:
            try:
                self._apply(connection, Step(apply_updates, CAREFULLY, entry))
            except BatchFailed as failed:
                again = partial(set_aside, reason=failed.reason)
                self._apply(connection, Step(again, AT_ONCE, entry))

    @retry_unless_locked
    def _apply(self, connection: sa.Connection, step: Step) -> int | None:
        """Apply a batch in one transaction; invalidate, publish and remove after the commit."""
        with connection.begin():
            if not try_lock_bounded(connection, Lock.DRAIN, self._shard, self._bounds(step)):
                return None
            counters = read_counters(connection, self._shard)
            raw_entries = self._fetch(connection, step)
            started = time.monotonic()
            pending = self._pending(connection, raw_entries, counters, step)
            new_verdicts, outcomes = self._settle(connection, pending, counters, step)
            customer_ids = touched_customers(connection) if new_verdicts else []
        self._has_failed = counters.has_failed
        self._verdicts.update(new_verdicts)
        self._invalidate(customer_ids)
        self._acknowledge(connection, outcomes, step)
        _log_set_aside(self._shard, pending)
        if step.entry is None:
            self._batch = next_batch_size(self._batch, time.monotonic() - started, self._max_batch)
        return len(raw_entries)

    def _bounds(self, step: Step) -> Bounds:
        """The bounds of the step's statements: its own, or those of the settings if these are lower."""
        own = self._settings.db_statement_timeout * 1000 or step.bounds.run_time
        return step.bounds._replace(run_time=min(own, step.bounds.run_time))

    def _fetch(self, connection: sa.Connection, step: Step) -> Sequence[RawEntry]:
        """Return the next updates of the source; none if a parked one is tried alone."""
        if step.entry is not None:
            return []
        return self._source.fetch(connection, self._batch, self._timeout)

    def _acknowledge(
        self, connection: sa.Connection, outcomes: Mapping[int, UpdateOutcome], step: Step
    ) -> None:
        """Publish the outcomes and remove the batch, if one was read."""
        finish = self._source.acknowledge if step.entry is None else self._source.publish
        if finish(outcomes) and outcomes:
            with connection.begin():
                tracked_verdicts.delete_published(connection, self._shard, outcomes.keys())

    def _pending(
        self,
        connection: sa.Connection,
        raw_entries: Sequence[RawEntry],
        counters: ShardCounters,
        step: Step,
    ) -> list[AcceptedUpdate]:
        """Return each update of the source, and each parked one that is to be tried with them."""
        if step.entry is not None:
            return parking.fetch_one(connection, self._shard, step.entry)
        parsed = parse_entries(raw_entries)
        parked = self._parked(connection, parsed) if counters.has_parked else []
        # One may be parked and still in the stream, if a drain crashed between commit and removal.
        return [*parked, *_without(parsed, {each.entry for each in parked})]

    def _settle(
        self,
        connection: sa.Connection,
        pending: Sequence[AcceptedUpdate],
        counters: ShardCounters,
        step: Step,
    ) -> tuple[Counter[Verdict], Mapping[int, UpdateOutcome]]:
        """Give a verdict to each update.

        Returns the number of each new verdict, and the outcomes to publish.

        Raises:
            BatchFailed: one of them may have caused an error, or ended the session.
        """
        # The parked ones come first.
        parked = takewhile(lambda each: each.parked_for, pending)
        waits = any(each.parked_for is Cause.LOCK for each in parked)
        apply = apply_updates if waits and step.apply is apply_at_once else step.apply
        try:
            apply(connection, [each for each in pending if isinstance(each, ParsedUpdate)])
        except sa.exc.DBAPIError as error:
            if may_be_of_one_row(error):
                raise BatchFailed(error) from error
            raise
        parking.settle_parked(connection, self._shard, pending)
        new = [each for each in pending if _is_new_verdict(each, counters)]
        return self._count(connection, new), self._outcomes(connection, pending, counters)

    def _parked(
        self, connection: sa.Connection, parsed: Sequence[AcceptedUpdate]
    ) -> list[AcceptedUpdate]:
        """Return the parked updates that are due, or whose order is about to be changed."""
        new = [each.update for each in parsed if isinstance(each, ParsedUpdate)]
        created = {each.order_id for each in new if each.customer_id is not None} & {
            each.order_id for each in new if each.total is not None
        }
        return parking.fetch_due(
            connection,
            self._shard,
            self._settings.unknown_order_patience,
            self._batch,
            {each.order_id for each in new},
            created,
        )

    def _count(
        self, connection: sa.Connection, settled: Sequence[AcceptedUpdate]
    ) -> Counter[Verdict]:
        """Add new verdicts to the shard's counters; return the number of each."""
        new_verdicts = Counter(each.verdict for each in settled if each.verdict)
        new_entries = [each.entry for each in settled if not each.attempts]
        if new_verdicts:
            add_to_counters(
                connection,
                self._shard,
                accepted=len(new_entries),
                last_entry=new_entries[-1] if new_entries else 0,
                verdicts=new_verdicts,
                mixed_order_ids=[
                    each.update.order_id
                    for each in settled
                    if each.reason and isinstance(each, ParsedUpdate) and each.mixes_versions
                ],
            )
        return new_verdicts

    def _outcomes(
        self, connection: sa.Connection, settled: Sequence[AcceptedUpdate], counters: ShardCounters
    ) -> Mapping[int, UpdateOutcome]:
        """Return the outcomes to publish: of these updates, and those left by a crashed drain."""
        if not counters.has_unpublished and not any(each.tracked for each in settled):
            return {}
        tracked_verdicts.store(connection, self._shard, settled)
        return tracked_verdicts.read_unpublished(connection, self._shard)

    def _invalidate(self, customer_ids: Collection[int]) -> None:
        """Invalidate at once. If the cache is unavailable, the fold of the change log does it later."""
        try:
            invalidate_and_record(self._cache, customer_ids)
        except redis.RedisError as error:
            log.warning("cache_invalidation_deferred", shard=self._shard, error=str(error))


def _is_new_verdict(each: AcceptedUpdate, counters: ShardCounters) -> bool:
    """Return whether the verdict is to be counted: it was not before, and it changed."""
    if each.verdict is Verdict.PARKED and each.retried_early:
        return False
    return bool(each.attempts) or each.entry > counters.last_entry


def _log_set_aside(shard: int, pending: Iterable[AcceptedUpdate]) -> None:
    """Log how many updates were set aside now, for each session that holds a lock of them."""
    new = [each for each in pending if each.verdict is Verdict.PARKED and not each.attempts]
    held = Counter(each.holder for each in new if each.holder)
    for holder, count in held.items():
        log.warning("updates_set_aside", shard=shard, count=count, **holder.fields())
    if failed := [each for each in new if each.cause is Cause.ERROR]:
        log.warning("updates_set_aside", shard=shard, count=len(failed), error=failed[0].reason)


def next_batch_size(size: int, seconds: float, maximum: int) -> int:
    """Return the size of the next batch, after a batch of `size` that took `seconds`."""
    if seconds > BATCH_SECONDS:
        return max(1, size // 2)
    return min(maximum, size * 2) if seconds < BATCH_SECONDS / 4 else size


def _without(accepted: Iterable[AcceptedUpdate], entries: Collection[int]) -> list[AcceptedUpdate]:
    if not entries:
        return list(accepted)
    return [each for each in accepted if each.entry not in entries]
