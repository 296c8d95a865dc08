"""The drain of one backlog: take what waits, apply it, say so, forget it.

A batch is one transaction under the shard's lock. Verdicts are counted in that transaction, so that
they add up whatever is killed. Killed before the commit: the updates are still there. Killed after it:
those of a stream are read again, their versions make them ineffective, and the account knows that they
were counted.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import redis
import sqlalchemy as sa
import structlog

from orderworks.cache.invalidation import invalidate_and_record
from orderworks.changelog import touched_customers
from orderworks.core.database import retry_transient
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates import parking, verdicts
from orderworks.updates.apply import ApplyBatch, apply_at_once, apply_updates
from orderworks.updates.bulk_write import MAX_REFUSED_CHANGES, BatchRefused, TooManyRefused
from orderworks.updates.counters import ShardCounters, add_to_counters, read_counters
from orderworks.updates.entries import AcceptedUpdate, ParsedUpdate, RawEntry, parse_entries
from orderworks.updates.messages import UpdateOutcome, Verdict
from orderworks.updates.sources import UpdateSource

LINGER_SECONDS = 1.0
"""Seconds without an update after which a drain leaves in any case."""

POLL_INTERVAL = 0.1
"""Seconds between two looks whether other work waits: the longest wait for a lingering drain."""

GATHER_EACH, MAX_GATHER = 0.0005, 0.02
"""Seconds that a drain lets updates gather for each one that it took, and at the most: where many came,
many come. A batch costs about 3 ms of the processors whatever its size, most of them the servers', and
they are missed by who sends."""


class IdlePolicy:
    """How long a drain stays when nothing waits any more.

    Without it each update that comes alone would cost a Celery message, and the time that one takes. Yet
    a drain holds a worker process while it stays, so it leaves when other work waits for one.
    """

    def __init__(self, other_work_waits: Callable[[], bool]) -> None:
        """`needed_elsewhere` tells whether other work waits for this worker."""
        self._other_work_waits = other_work_waits
        self._until = self._next_poll = 0.0

    def should_wait(self, batch_size: int) -> bool:
        """Whether to wait for more, after a batch that took all there was, if only nothing."""
        now = time.monotonic()
        if batch_size:
            self._until = now + LINGER_SECONDS
        if now >= self._until:
            return False
        if now >= self._next_poll:
            self._next_poll = now + POLL_INTERVAL
            return not self._other_work_waits()
        return True


def pause_after_batch(batch_size: int) -> None:
    """Wait a moment after a batch of several updates, so that the next one has more of them."""
    if batch_size > 1:
        time.sleep(min(batch_size * GATHER_EACH, MAX_GATHER))


log = structlog.get_logger()

FIRST_BATCH = 1000
"""Updates of a run's first batch; it doubles while batches are quick, up to UPDATE_BATCH."""

BATCH_SECONDS = 1.0
"""A batch that took longer is followed by smaller ones: its rows are locked for so long."""


class DrainResult(msgspec.Struct, frozen=True):
    """What a drain did: verdicts given, and whether its time was over before the backlog was empty."""

    verdicts: dict[str, int]
    more: bool


class Drain:
    """Drains one backlog. Made for each run; several may run, one at a time works."""

    def __init__(
        self,
        engine: sa.Engine,
        source: UpdateSource,
        cache: Redis,
        settings: Settings,
        other_work_waits: Callable[[], bool] = lambda: True,
    ) -> None:
        """`needed_elsewhere` tells whether other work waits for this worker; else the drain lingers."""
        self._engine = engine
        self._source = source
        self._cache = cache
        self._settings = settings
        self._shard = source.shard
        self._max_batch = settings.update_batch
        self._batch = min(FIRST_BATCH, self._max_batch)
        self._idle_policy = IdlePolicy(other_work_waits)
        self._timeout = 0.0
        self._verdicts: Counter[Verdict] = Counter()

    def run(self) -> DrainResult:
        """Apply batches until nothing waits, another drain is at work, or the time slice is over."""
        began = time.monotonic()
        # One connection for all batches, looked after once. When it is lost, it is made anew.
        with self._engine.connect() as connection:
            more = self._work_until(connection, began + self._settings.update_time_slice)
        counts = {verdict.value: count for verdict, count in self._verdicts.items()}
        if counts:
            milliseconds = round(1000 * (time.monotonic() - began))
            log.info("updates_drained", shard=self._shard, ms=milliseconds, **counts)
        return DrainResult(counts, more)

    def _work_until(self, connection: sa.Connection, deadline: float) -> bool:
        """Apply batch after batch; whether the time was over before nothing waited."""
        while time.monotonic() < deadline:
            asked = self._batch
            try:
                taken = self._apply_batch(connection)
            except TooManyRefused:
                # Parked updates come on top: twice the batch has to stay below what was too many.
                self._max_batch = self._batch = max(1, min(asked, MAX_REFUSED_CHANGES) // 2)
                continue
            if taken is None:
                # The other drain looks into the backlog again after it has let go of the lock, or
                # nudges when its time is over; if it dies, the sweep nudges.
                return False
            if taken < asked:
                if self._should_stop(connection, taken):
                    return False
                pause_after_batch(taken)
        return True

    def _should_stop(self, connection: sa.Connection, taken: int) -> bool:
        """Whether to end, after a batch that took all there was."""
        stays = self._source.can_wait and self._idle_policy.should_wait(taken)
        self._timeout = POLL_INTERVAL if stays else 0.0
        return not stays and self._source.release(connection)

    def _apply_batch(self, connection: sa.Connection) -> int | None:
        """Apply one batch; how many updates it took, or None if another drain holds the lock."""
        try:
            return self._apply(connection, apply_at_once)
        except BatchRefused:
            return self._apply(connection, apply_updates)

    @retry_transient
    def _apply(self, connection: sa.Connection, apply_batch: ApplyBatch) -> int | None:
        """One batch in one transaction, and what comes after its commit."""
        with connection.begin():
            if not try_lock(connection, Lock.DRAIN, self._shard):
                return None
            account = read_counters(connection, self._shard)
            arrivals = self._source.fetch(connection, self._batch, self._timeout)
            began = time.monotonic()
            given, outcomes = self._settle(connection, arrivals, account, apply_batch)
            touched = touched_customers(connection) if given else []
        self._verdicts.update(given)
        self._invalidate(touched)
        if self._source.acknowledge(outcomes) and outcomes:
            with connection.begin():
                verdicts.delete_published(connection, self._shard, outcomes.keys())
        self._batch = next_batch_size(self._batch, time.monotonic() - began, self._max_batch)
        return len(arrivals)

    def _settle(
        self,
        connection: sa.Connection,
        raw_entries: Sequence[RawEntry],
        counters: ShardCounters,
        apply: ApplyBatch,
    ) -> tuple[Counter[Verdict], Mapping[int, UpdateOutcome]]:
        """Give every update that arrived, and every parked one to be tried now, its verdict.

        The verdicts that are given for the first time, counted; and the outcomes to be told.
        """
        arrived = parse_entries(raw_entries)
        parked = self._parked(connection, arrived) if counters.has_parked else []
        # One may be parked and still in the stream, if a drain died between commit and removal.
        waiting = [*parked, *_without(arrived, {each.entry for each in parked})]
        apply(connection, [each for each in waiting if isinstance(each, ParsedUpdate)])
        parking.settle_parked(connection, self._shard, waiting)
        fresh = [each for each in waiting if _is_first_verdict(each, counters)]
        return self._count(connection, fresh), self._outcomes(connection, waiting, counters)

    def _parked(
        self, connection: sa.Connection, arrived: Sequence[AcceptedUpdate]
    ) -> list[AcceptedUpdate]:
        """Parked updates whose time has come, or whose order is about to be changed."""
        order_ids = {each.update.order_id for each in arrived if isinstance(each, ParsedUpdate)}
        patience = self._settings.unknown_order_patience
        return parking.fetch_due(connection, self._shard, patience, self._batch, order_ids)

    def _count(
        self, connection: sa.Connection, fresh: Sequence[AcceptedUpdate]
    ) -> Counter[Verdict]:
        """Add verdicts that are given for the first time to the shard's account."""
        given = Counter(each.verdict for each in fresh if each.verdict)
        come = [each.entry for each in fresh if not each.attempts]
        if given:
            add_to_counters(
                connection,
                self._shard,
                accepted=len(come),
                last_entry=come[-1] if come else 0,
                verdicts=given,
            )
        return given

    def _outcomes(
        self, connection: sa.Connection, settled: Sequence[AcceptedUpdate], counters: ShardCounters
    ) -> Mapping[int, UpdateOutcome]:
        """What is to be told: of these updates, and what a drain before did not live to tell."""
        if not counters.has_unpublished and not any(each.tracked for each in settled):
            return {}
        verdicts.store(connection, self._shard, settled)
        return verdicts.read_unpublished(connection, self._shard)

    def _invalidate(self, customer_ids: Collection[int]) -> None:
        """The fast path. The change log is the guarantee, so a cache that is away stops nothing."""
        try:
            invalidate_and_record(self._cache, customer_ids)
        except redis.RedisError as error:
            log.warning("invalidation_left_to_fold", shard=self._shard, error=str(error))


def _is_first_verdict(each: AcceptedUpdate, counters: ShardCounters) -> bool:
    """Whether its verdict is one to be counted: not yet counted, and not what it was before."""
    if each.verdict is Verdict.PARKED and each.retried_early:
        return False
    return bool(each.attempts) or each.entry > counters.last_entry


def next_batch_size(size: int, seconds: float, maximum: int) -> int:
    """How many updates the next batch takes after one of `size` that took so long."""
    if seconds > BATCH_SECONDS:
        return max(1, size // 2)
    return min(maximum, size * 2) if seconds < BATCH_SECONDS / 4 else size


def _without(accepted: Iterable[AcceptedUpdate], entries: Collection[int]) -> list[AcceptedUpdate]:
    if not entries:
        return list(accepted)
    return [each for each in accepted if each.entry not in entries]
