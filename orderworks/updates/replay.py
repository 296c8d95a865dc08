"""Replays: dead updates are appended again, with the versions that they had.

So they cannot overwrite newer writes. If a replay is killed between the append and its mark, the next
one appends the updates again: the first entry takes effect, the second is a duplicate or stale.
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
from orderworks.core.routing import Nudge
from orderworks.core.schema import dead_updates
from orderworks.updates.dead_letters import (
    DeadLetterFilter,
    require_existing,
    with_accepted_version,
)
from orderworks.updates.replay_rate import DEFAULT_RATE
from orderworks.updates.stream import UpdateStream

MAX_BATCH = 500
"""Updates that are appended and marked in one transaction; at a low rate there are fewer."""

MAX_ROOM_WAIT = 60.0
"""Seconds to wait until a full stream has room for a batch."""


class Unreadable(msgspec.Struct, frozen=True):
    """A dead letter that is not a valid update, and the reason; it stays as it is."""

    id: int
    reason: str


class ReplayResult(msgspec.Struct, frozen=True):
    """The outcome of a replay.

    Attributes:
        replayed: number of updates that were replayed.
        unreadable: those that cannot be replayed.
        left: number of updates beyond the limit, which were not replayed.
    """

    replayed: int
    unreadable: list[Unreadable]
    left: int = 0


class Throttle:
    """Limits the number of items a second. Unused capacity is not carried over."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = time.monotonic()

    def wait(self, count: int) -> None:
        """Wait until the next `count` items are allowed."""
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        self._free_at = time.monotonic() + count / self._rate


class _ReplayItem(NamedTuple):
    """A dead update to replay; items sort by version."""

    version: int
    id: int
    shard: int


class Replay:
    """Replays dead updates. Make one for each run; concurrent runs replay no update twice."""

    def __init__(
        self,
        engine: sa.Engine,
        stream: UpdateStream,
        nudge: Nudge,
        *,
        rate: int = DEFAULT_RATE,
        wait_for_room: float = MAX_ROOM_WAIT,
    ) -> None:
        """`rate` is in updates a second; `wait_for_room` in seconds, for a stream that is full."""
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
        """Replay the dead updates that match, at most `limit`, the oldest versions first.

        Those that were replayed before are included only if `criteria` has their ids. `on_progress` is
        called after each batch with the number of updates that are done, and of all.

        Raises:
            DeadUpdateNotFound: an id in `criteria` does not exist. Nothing is replayed.
            ReplayStopped: a stream stayed full, or a server is unavailable.
        """
        all_planned, unreadable = self._plan(criteria)
        planned = all_planned[:limit]
        replayed = done = 0
        for shard, ids in self._batches(planned):
            try:
                replayed += self._until_room(
                    self._append_batch, shard, ids, named=bool(criteria.ids)
                )
            except (Backpressure, redis.RedisError, sa.exc.DBAPIError) as error:
                raise ReplayStopped(replayed, len(planned) - done, error) from error
            done += len(ids)
            on_progress(done, len(planned))
        return ReplayResult(replayed, unreadable, len(all_planned) - len(planned))

    def dry_run(self, criteria: DeadLetterFilter) -> ReplayResult:
        """Return what a run would find, with all that it would replay as `left`; change nothing.

        Raises:
            DeadUpdateNotFound: an id in `criteria` does not exist.
        """
        planned, unreadable = self._plan(criteria)
        return ReplayResult(0, unreadable, len(planned))

    def _plan(self, criteria: DeadLetterFilter) -> tuple[list[_ReplayItem], list[Unreadable]]:
        """Return the updates to replay now, the oldest version first, and the unreadable ones.

        Updates that are dead-lettered later are excluded. They are not sorted by entry: an update that
        was replayed without success has a late entry, and still its early version.
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
                    planned.append(_ReplayItem(update.own_version or 0, letter_id, to))
        return sorted(planned), unreadable

    def _batches(self, planned: Sequence[_ReplayItem]) -> Iterator[tuple[int, list[int]]]:
        """Yield the shard and the ids of each batch, shard by shard, at the given rate."""
        by_shard = sorted(planned, key=lambda each: each.shard)  # stable: old versions stay first
        for shard, group in groupby(by_shard, key=lambda each: each.shard):
            ids = [each.id for each in group]
            for start in range(0, len(ids), self._batch):
                batch = ids[start : start + self._batch]
                self._throttle.wait(len(batch))
                yield shard, batch

    def _append_batch(self, shard: int, ids: Sequence[int], *, named: bool) -> int:
        """Append a batch and mark it; return the number, without those replayed by others meanwhile."""
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
    """Return the query of the dead updates that match; its rows are streamed from the server."""
    letter = dead_updates.c
    query = sa.select(letter.id, letter.shard, letter.entry, letter.payload)
    if not criteria.ids:
        query = query.where(dead_updates.c.replayed_at.is_(None))
    return query.where(*criteria.conditions()).execution_options(yield_per=1000)


def _locked_rows(ids: Sequence[int], *, named: bool) -> sa.Select[int, int, int, bytes]:
    """Return the query that locks the rows until the commit, so that only one replay has each."""
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
