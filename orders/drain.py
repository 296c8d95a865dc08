"""The drain of one shard: take what waits in its stream, apply it, say so, cut it off the stream.

A batch is one transaction under the shard's lock. Verdicts are counted in that transaction, so that
they add up whatever is killed. Killed before the commit: the entries are still there. Killed after it:
they are read again, their versions make them ineffective, and the ledger knows that they were counted.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec
import redis
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from orders import letters
from orders.cache import invalidate
from orders.changes import touched_customers
from orders.database import retry_transient
from orders.locks import Lock, try_lock
from orders.messages import Verdict
from orders.redis import Redis
from orders.schema import update_shards
from orders.settings import Settings
from orders.stream import Entry, UpdateStream
from orders.updates import (
    MOST_REFUSED,
    Accepted,
    Candidate,
    TooManyRefused,
    apply_updates,
    read_accepted,
)

log = structlog.get_logger()


class Drained(msgspec.Struct, frozen=True):
    """What a drain did: verdicts given, and whether its time was over before the stream was empty."""

    verdicts: dict[str, int]
    more: bool


class Drain:
    """Drains one shard. Made for each run; several may run, one at a time works."""

    def __init__(
        self,
        engine: sa.Engine,
        stream: UpdateStream,
        cache: Redis,
        settings: Settings,
        shard: int,
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._cache = cache
        self._settings = settings
        self._shard = shard
        self._batch = settings.update_batch
        self._verdicts: Counter[str] = Counter()

    def run(self) -> Drained:
        """Apply batches until nothing waits, another drain is at work, or the time slice is over."""
        deadline = time.monotonic() + self._settings.update_time_slice
        while time.monotonic() < deadline:
            try:
                read = self._apply_batch()
            except TooManyRefused:
                # Parked updates come on top: twice the batch has to stay below what was too many.
                self._batch = max(1, min(self._batch, MOST_REFUSED) // 2)
                continue
            if read is None:
                # The other drain looks into the stream again after it has let go of the lock, or
                # nudges when its time is over; if it dies, the sweep nudges.
                return self._drained(more=False)
            if read < self._batch and self._nothing_came_meanwhile():
                return self._drained(more=False)
        return self._drained(more=True)

    def _drained(self, *, more: bool) -> Drained:
        return Drained(dict(self._verdicts), more)

    def _nothing_came_meanwhile(self) -> bool:
        """Let producers nudge again, and only then look: what came before that is seen here."""
        self._stream.drop_nudge(self._shard)
        return self._stream.length(self._shard) == 0

    @retry_transient
    def _apply_batch(self) -> int | None:
        """Apply one batch; how many stream entries it had, or None if another drain holds the lock."""
        with self._engine.begin() as connection:
            if not try_lock(connection, Lock.DRAIN, self._shard):
                return None
            self._stream.hold_nudge(self._shard)
            entries = self._stream.read(self._shard, self._batch)
            verdicts = self._settle(connection, entries)
            touched = touched_customers(connection) if verdicts else []
        self._verdicts.update(verdicts)
        self._invalidate(touched)
        if entries:
            self._stream.remove(self._shard, entries)
        return len(entries)

    def _settle(self, connection: sa.Connection, entries: Sequence[Entry]) -> Counter[str]:
        """Give every entry, and every parked update to be tried now, its verdict; count them."""
        last_entry = self._last_entry(connection)
        arrived = read_accepted([(each.version, each.payload, each.tracked) for each in entries])
        parked = self._parked(connection, arrived)
        # An entry may be parked and still in the stream, if a drain died between commit and removal.
        waiting = [*parked, *_without(arrived, {each.entry for each in parked})]
        apply_updates(connection, [each for each in waiting if isinstance(each, Candidate)])
        letters.file_away(connection, self._shard, waiting)
        fresh = [each for each in waiting if each.attempts or each.entry > last_entry]
        verdicts = Counter(str(each.verdict) for each in fresh)
        self._record(connection, verdicts, [e for e in entries if e.version > last_entry])
        return verdicts

    def _parked(self, connection: sa.Connection, arrived: Sequence[Accepted]) -> list[Accepted]:
        """Parked updates whose time has come, or whose order is about to be changed."""
        order_ids = {each.update.order_id for each in arrived if isinstance(each, Candidate)}
        patience = self._settings.unknown_order_patience
        return letters.due(connection, self._shard, patience, self._batch, order_ids)

    def _last_entry(self, connection: sa.Connection) -> int:
        """The newest entry that a committed batch has counted."""
        query = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == self._shard)
        return connection.scalar(query) or 0

    def _record(
        self, connection: sa.Connection, verdicts: Counter[str], counted: Sequence[Entry]
    ) -> None:
        """Add the verdicts to the shard's account, in the transaction that gives them."""
        if not verdicts:
            return
        final = {str(each): verdicts[each] for each in Verdict if each is not Verdict.PARKED}
        statement = insert(update_shards).values(
            shard=self._shard,
            last_entry=counted[-1].version if counted else 0,
            accepted=len(counted),
            **final,
        )
        added = {
            name: update_shards.c[name] + statement.excluded[name] for name in ("accepted", *final)
        }
        newest = sa.func.greatest(update_shards.c.last_entry, statement.excluded.last_entry)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["shard"], set_={**added, "last_entry": newest}
            )
        )

    def _invalidate(self, customer_ids: Iterable[int]) -> None:
        """The fast path. The change log is the guarantee, so a cache that is away stops nothing."""
        try:
            invalidate(self._cache, list(customer_ids))
        except redis.RedisError as error:
            log.warning("invalidation_left_to_fold", shard=self._shard, error=str(error))


def _without(accepted: Iterable[Accepted], entries: Collection[int]) -> list[Accepted]:
    return [each for each in accepted if each.entry not in entries]
