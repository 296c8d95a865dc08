"""Resharding: a change of the number of shards while producers are running.

The layout key of shard 0 always describes the waiting entries: it is `2>4` while those of the old layout
are applied, `4>4` once none of them waits, and `4` when producers may append again. So an interrupted
change can be repeated, changed or undone.
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
"""Seconds between two checks of the waiting updates."""


class Resharding:
    """Changes the layout of the streams. Only one change runs at a time."""

    def __init__(self, engine: sa.Engine, client: Redis, settings: Settings) -> None:
        self._engine = engine
        self._client = client
        self._settings = settings
        self._stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    def run(self, goal: int, timeout: float) -> ShardLayout:
        """Spread the updates over `goal` shards; return the layout before.

        Producers get `Backpressure` until the waiting updates are applied, for at most `timeout`
        seconds, and then `ConfigurationError` until they are configured with the new number.

        Raises:
            ReshardStopped: updates still wait, or another change is running. Nothing is changed.
        """
        with self._engine.begin() as connection:
            if not try_lock(connection, Lock.RESHARD):
                raise ReshardStopped("another `orderworks reshard` is running")
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
        """Block appends to the shards `every`; reopen them for `shards` if the block fails."""
        try:
            for shard in every:
                self._write_layout(shard, ShardLayout(shards, goal))
            yield
        except BaseException:
            self._reopen_appends(shards, every)
            raise

    def _reopen_appends(self, shards: int, every: list[int]) -> None:
        """Reopen appends for producers configured with `shards`; shard 0 last."""
        for shard in reversed(every):
            self._write_layout(shard, ShardLayout(shards))

    def _write_layout(self, shard: int, layout: ShardLayout) -> None:
        self._client.set(keys.update_layout(shard), layout.encode())

    def _await_applied(self, connection: sa.Connection, shards: range, deadline: float) -> None:
        """Wait until all accepted updates have final verdicts, and new entries are sure to be newer.

        Raises:
            ReshardStopped: the time is over; the message names what still waits.
        """
        while waits := self._pending_work(connection, shards):
            if time.monotonic() > deadline:
                raise ReshardStopped(f"Nothing is changed, because {waits}")
            time.sleep(POLL_INTERVAL)

    def _pending_work(self, connection: sa.Connection, shards: range) -> str:
        """Return a description of the work to wait for; empty without such work."""
        # A statement each time, because PostgreSQL ends the session of a lock's holder that is idle.
        connection.execute(sa.text("SELECT 1"))
        # Entries become parked updates, and not the reverse, so parked updates are counted last.
        if waiting := sum(map(self._stream.length, shards)):
            return (
                f"{waiting:,} updates wait in the streams: no worker is running, or the workers are "
                "not finished yet"
            )
        if parked := connection.scalar(_PARKED):
            max_wait = self._settings.unknown_order_patience
            return (
                f"{parked:,} updates are parked. If their order or customer does not exist, that ends "
                f"within {max_wait:.0f} s (UNKNOWN_ORDER_PATIENCE) and a minute; otherwise they wait "
                "for a lock, which `orderworks status` shows, or failed, and are tried for an hour"
            )
        # An order's next entry is in another stream, whose ids may be lower than those of this one.
        behind = milliseconds_of(connection.scalar(_NEWEST) or 0) - self._milliseconds()
        return f"the clock of Redis is {behind} ms behind the newest update" if behind >= 0 else ""

    def _milliseconds(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


_OF_STREAMS = parked_updates.c.shard >= 0
_PARKED = sa.select(sa.func.count()).select_from(parked_updates).where(_OF_STREAMS)
_NEWEST = sa.select(sa.func.max(update_shards.c.last_entry)).where(update_shards.c.shard >= 0)


def _all_shards(connection: sa.Connection, before: ShardLayout, goal: int) -> list[int]:
    """Return the shards of both layouts, and all that were ever drained, in order.

    The layout keys of shards that no layout has any more refuse producers with an old number.
    """
    drained = sa.select(update_shards.c.shard).where(update_shards.c.shard >= 0)
    highest = max(before.shards, before.goal or 0, goal)
    return sorted({*range(highest), *connection.scalars(drained)})
