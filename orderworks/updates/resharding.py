"""Changing over how many shards the updates are spread, while producers are at work.

The word of shard 0 is true of the entries that wait, at every moment: `2>4` while those of the old
layout are applied, `4>4` once none of them waits, `4` when all may append again. So whatever interrupts
it, it can be done again, done otherwise, or undone.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.errors import ReshardStopped
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.schema import parked_updates, update_shards
from orderworks.core.settings import Settings
from orderworks.core.versions import milliseconds_of
from orderworks.updates.shard_layout import ShardLayout, read_layout
from orderworks.updates.stream import UpdateStream

POLL_INTERVAL = 0.05
"""Seconds between two looks at what waits."""


class Resharding:
    """Changes the layout of the streams. One at a time."""

    def __init__(self, engine: sa.Engine, client: Redis, settings: Settings) -> None:
        self._engine = engine
        self._client = client
        self._settings = settings
        self._stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def run(self, goal: int, timeout: float) -> ShardLayout:
        """Spread the updates over `goal` shards; how it was before.

        Producers get `Backpressure` until what waits is applied, `timeout` seconds at the most, and
        `ConfigurationError` afterwards, until they have the new number.

        Raises:
            ReshardStopped: something still waits, or another one is at it. Nothing is changed.
        """
        with self._engine.begin() as connection:
            if not try_lock(connection, Lock.RESHARD):
                raise ReshardStopped("another `orderworks reshard` is at work")
            before = read_layout(self._client) or ShardLayout(self._settings.update_shards)
            shards = _all_shards(connection, before, goal)
            if before.shards != goal:
                with self._appends_blocked(before.shards, goal, shards):
                    self._await_applied(
                        connection, range(before.shards), time.monotonic() + timeout
                    )
                self._write_layout(0, ShardLayout(goal, goal))
            self._reopen_appends(goal, shards)
        return before

    @contextmanager
    def _appends_blocked(self, shards: int, goal: int, every: list[int]) -> Iterator[None]:
        """Nobody appends. If the block fails all may again who could before."""
        try:
            for shard in every:
                self._write_layout(shard, ShardLayout(shards, goal))
            yield
        except BaseException:
            self._reopen_appends(shards, every)
            raise

    def _reopen_appends(self, shards: int, every: list[int]) -> None:
        """Let those append who have this number; shard 0 last."""
        for shard in reversed(every):
            self._write_layout(shard, ShardLayout(shards))

    def _write_layout(self, shard: int, layout: ShardLayout) -> None:
        self._client.set(keys.update_layout(shard), layout.encode())

    def _await_applied(self, connection: sa.Connection, shards: range, deadline: float) -> None:
        """Return once all that was accepted has its verdict, and new entries are certain to be newer.

        Raises:
            ReshardStopped: the time is over; says what still waits.
        """
        while waits := self._pending_work(connection, shards):
            if time.monotonic() > deadline:
                raise ReshardStopped(f"Nothing is changed, because {waits}")
            time.sleep(POLL_INTERVAL)

    def _pending_work(self, connection: sa.Connection, shards: range) -> str:
        """What has to be waited for; empty if nothing is."""
        # A word to PostgreSQL each time: it ends the session of who holds a lock and says nothing.
        connection.execute(sa.text("SELECT 1"))
        # Entries become parked updates, never the other way: so those are asked for last.
        if waiting := sum(map(self._stream.length, shards)):
            return (
                f"{waiting:,} updates wait in the streams: workers are away, or have not done yet"
            )
        if parked := connection.scalar(_PARKED):
            patience = self._settings.unknown_order_patience
            return (
                f"{parked:,} updates are parked, because their order or customer does not exist: they "
                f"end within {patience:.0f} s (UNKNOWN_ORDER_PATIENCE) and a minute"
            )
        # An order's next entry stands in another stream, whose ids do not know of this one's.
        behind = milliseconds_of(connection.scalar(_NEWEST) or 0) - self._milliseconds()
        return f"the clock of Redis is {behind} ms behind the newest update" if behind >= 0 else ""

    def _milliseconds(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


_OF_STREAMS = parked_updates.c.shard >= 0
_PARKED = sa.select(sa.func.count()).select_from(parked_updates).where(_OF_STREAMS)
_NEWEST = sa.select(sa.func.max(update_shards.c.last_entry)).where(update_shards.c.shard >= 0)


def _all_shards(connection: sa.Connection, before: ShardLayout, goal: int) -> list[int]:
    """Shards of the old and the new layout, and whatever was ever drained: shard 0 comes first.

    The words of those that are in no layout any more keep out producers that think otherwise.
    """
    drained = sa.select(update_shards.c.shard).where(update_shards.c.shard >= 0)
    most = max(before.shards, before.goal or 0, goal)
    return sorted({*range(most), *connection.scalars(drained)})
