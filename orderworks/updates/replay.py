"""Replays: dead updates handed over again, in their old place among all writes.

Each is appended to its stream with the version that it had, so it cannot overwrite what is newer. A
replay that is killed between the append and its mark does the same again the next time: the first one
counts, the second one is a duplicate or stale.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
import redis
import sqlalchemy as sa
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from orderworks.core.errors import Backpressure, InvalidUpdate, ReplayStopped
from orderworks.core.schema import dead_updates
from orderworks.updates.dead_letters import (
    DeadLetterFilter,
    require_existing,
    with_accepted_version,
)
from orderworks.updates.stream import UpdateStream

DEFAULT_RATE = 1000
"""Updates a second, if nothing else is said. A drain applies many times that, so nobody waits long."""

MAX_BATCH = 500
"""Updates that are appended and marked in one transaction; fewer at a lower rate."""

MAX_ROOM_WAIT = 60.0
"""Seconds that a full stream is given to get room for one batch."""

Nudge = Callable[[int], None]
"""Asks for a drain of the shard. One that is lost is made up for by the sweep."""


class Unreadable(msgspec.Struct, frozen=True):
    """A dead update that is none, and why; it stays as it is."""

    id: int
    reason: str


class ReplayResult(msgspec.Struct, frozen=True):
    """How many were replayed, which cannot be, and how many are left beyond the limit."""

    replayed: int
    unreadable: list[Unreadable]
    left: int = 0


class Throttle:
    """Lets so many things a second through. What was late is not caught up with."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = time.monotonic()

    def wait(self, count: int) -> None:
        """Return when it is the turn of the next `count`."""
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        self._free_at = time.monotonic() + count / self._rate


class _ReplayItem(NamedTuple):
    """A dead update to replay, in the order in which it was written."""

    version: int
    id: int
    shard: int


class Replay:
    """Replays dead updates. Made for each run; several at once double nothing."""

    def __init__(
        self,
        engine: sa.Engine,
        stream: UpdateStream,
        nudge: Nudge,
        *,
        rate: int = DEFAULT_RATE,
        wait_for_room: float = MAX_ROOM_WAIT,
    ) -> None:
        """`rate` is in updates a second; `patience` in seconds, for a stream that is full."""
        self._engine = engine
        self._stream = stream
        self._nudge = nudge
        self._throttle = Throttle(rate)
        self._batch = max(1, min(MAX_BATCH, rate // 10))
        self._until_room = Retrying(
            retry=retry_if_exception_type(Backpressure),
            wait=wait_exponential(multiplier=0.05, max=2),
            stop=stop_after_delay(wait_for_room),
            reraise=True,
        )

    def run(
        self,
        criteria: DeadLetterFilter,
        limit: int | None = None,
        on_progress: Callable[[int, int], None] = lambda _done, _planned: None,
    ) -> ReplayResult:
        """Replay what is wanted, at most `limit` of the oldest; those replayed before only by name.

        `on_progress` hears after each batch how many are done, and of how many.

        Raises:
            DeadUpdateNotFound: one that is named does not exist. Nothing is replayed.
            ReplayStopped: a stream stayed full, or a server is away; says how many were replayed.
        """
        all_planned, unreadable = self._plan(criteria)
        planned = all_planned[:limit]
        replayed = seen = 0
        for shard, ids in self._batches(planned):
            try:
                replayed += self._until_room(
                    self._append_batch, shard, ids, named=bool(criteria.ids)
                )
            except (Backpressure, redis.RedisError, sa.exc.DBAPIError) as error:
                raise ReplayStopped(replayed, len(planned) - seen, error) from error
            seen += len(ids)
            on_progress(seen, len(planned))
        return ReplayResult(replayed, unreadable, len(all_planned) - len(planned))

    def dry_run(self, criteria: DeadLetterFilter) -> ReplayResult:
        """What a run would find: all that it would replay is left, and nothing is changed.

        Raises:
            DeadUpdateNotFound: one that is named does not exist.
        """
        planned, unreadable = self._plan(criteria)
        return ReplayResult(0, unreadable, len(planned))

    def _plan(self, criteria: DeadLetterFilter) -> tuple[list[_ReplayItem], list[Unreadable]]:
        """What there is now, oldest version first: what dies meanwhile is not replayed again.

        Not by entry: what was replayed in vain has a late entry and its early version.
        """
        planned, unreadable = [], []
        with self._engine.connect() as connection:
            require_existing(connection, criteria.ids)
            for letter_id, shard, entry, payload in connection.execute(_candidates(criteria)):
                try:
                    update = with_accepted_version(shard, entry, bytes(payload))
                except InvalidUpdate as error:
                    unreadable.append(Unreadable(letter_id, str(error)))
                else:
                    to = self._stream.shard_of(update.order_id)
                    planned.append(_ReplayItem(update.version or 0, letter_id, to))
        return sorted(planned), unreadable

    def _batches(self, planned: Sequence[_ReplayItem]) -> Iterator[tuple[int, list[int]]]:
        """Shard by shard the ids of a batch, when its turn has come."""
        by_shard = sorted(planned, key=lambda each: each.shard)  # stable: old versions stay first
        for shard, group in groupby(by_shard, key=lambda each: each.shard):
            ids = [each.id for each in group]
            for start in range(0, len(ids), self._batch):
                batch = ids[start : start + self._batch]
                self._throttle.wait(len(batch))
                yield shard, batch

    def _append_batch(self, shard: int, ids: Sequence[int], *, named: bool) -> int:
        """Append a batch and mark it; how many that were. Those that others took meanwhile are not."""
        with self._engine.begin() as connection:
            rows = {row.id: row for row in connection.execute(_locked_rows(ids, named=named))}
            letters = [rows[each] for each in ids if each in rows]
            if not letters:
                return 0
            updates = [
                with_accepted_version(each.shard, each.entry, bytes(each.payload))
                for each in letters
            ]
            appended = self._stream.append(shard, [update.encode() for update in updates])
            connection.execute(_mark([each.id for each in letters]))
        if appended.needs_nudge:
            self._nudge(shard)
        return len(letters)


def _candidates(criteria: DeadLetterFilter) -> sa.Select[int, int, int, bytes]:
    """Streamed from the server."""
    letter = dead_updates.c
    query = sa.select(letter.id, letter.shard, letter.entry, letter.payload)
    if not criteria.ids:
        query = query.where(dead_updates.c.replayed_at.is_(None))
    return query.where(*criteria.conditions()).execution_options(yield_per=1000)


def _locked_rows(ids: Sequence[int], *, named: bool) -> sa.Select[int, int, int, bytes]:
    """The rows, locked until the commit, so that no two replays take the same one at once."""
    letter = dead_updates.c
    query = sa.select(letter.id, letter.shard, letter.entry, letter.payload)
    if not named:
        query = query.where(dead_updates.c.replayed_at.is_(None))
    return (
        query.where(*DeadLetterFilter(ids=ids).conditions())
        .order_by(dead_updates.c.id)
        .with_for_update()
    )


def _mark(ids: Sequence[int]) -> sa.Update:
    return (
        sa.update(dead_updates)
        .where(*DeadLetterFilter(ids=ids).conditions())
        .values(replayed_at=sa.func.now())
    )
