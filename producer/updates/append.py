"""Appends of updates: what is sent when, what may be sent again, and which errors result.

These are steps without I/O, which the sync and the async client run alike.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import redis

from orderworks.core.effects import Pause
from orderworks.core.errors import ConfigurationError, NotDurable, OrderworksError, PartlyAccepted
from orderworks.core.keys import update_layout
from orderworks.core.redis import pack_command, redis_unavailable
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.shard_layout import ShardLayout, layout_error
from orderworks.updates.stream import NO_LAYOUT, AppendTarget, shard_of
from producer.effects import NudgeEffect, ProducerSteps, Replies, RoundTrip, pauses
from producer.updates.chunking import UpdateChunk, require_update
from producer.updates.shard_batch import ShardBatch

CHUNK_SIZE = 1000
"""Updates that `update_many` sends in one round trip: with more it is no faster."""

DURABLE_CHUNK_SIZE = 10_000
"""The same where each round trip waits for an fsync: 0.1 s on Valkey 9.1 with `appendfsync everysec`, up
to a second on others. A script with that many entries delays other clients by about 20 ms."""

RECONNECT_PAUSE = 0.05
"""Seconds after which a connection that failed is tried once more."""


class AppendOptions(NamedTuple):
    """Options of an append.

    Attributes:
        wait_for_room: seconds to wait while a shard is full.
        durable: return only when the server has the updates on disk.
        tracked: publish the verdicts.
    """

    wait_for_room: float = 0
    durable: bool = False
    tracked: bool = False


class Appender:
    """Appends updates to the streams that the settings name. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._shards = settings.update_shards
        self._limit = settings.stream_limit
        self._targets = [
            AppendTarget(shard, self._shards, self._limit) for shard in range(self._shards)
        ]
        self._timeout = settings.redis_timeout
        self._has_append_only_file = False

    def chunk_size(self, options: AppendOptions) -> int:
        """Return how many updates make a chunk; never more than fit into an empty shard."""
        return min(DURABLE_CHUNK_SIZE, self._limit) if options.durable else CHUNK_SIZE

    def shard_of_order(self, order_id: int) -> int:
        """Return the shard of the order's updates."""
        return shard_of(order_id, self._shards)

    def ensure_durable(self, options: AppendOptions) -> ProducerSteps[None]:
        """Check once that the server can do what `durable` requests, before anything is accepted.

        Raises:
            ConfigurationError: the server keeps no append-only file.
            Unavailable: the server did not answer.
        """
        if not options.durable or self._has_append_only_file:
            return
        replies = yield from self._exchange(pack_command("WAITAOF", 1, 0, 1), 1)
        if replies.error:
            raise redis_unavailable(replies.error) from replies.error
        if isinstance(replies.received[0], redis.RedisError):
            raise ConfigurationError(
                f"REDIS_URL: this server cannot report what it has on disk ({replies.received[0]}): set "
                "`appendonly yes` there (Valkey, or Redis 7.2 and later), or do without durable=True"
            )
        self._has_append_only_file = True

    def append_one(self, update: OrderUpdate, options: AppendOptions) -> ProducerSteps[str]:
        """Append one update; return its entry id.

        Raises:
            InvalidUpdate, Backpressure, Unavailable, NotDurable, ConfigurationError: as documented for
                `Producer.update`.
        """
        shard = self.shard_of_order(require_update(update).order_id)
        batch = ShardBatch(self._targets[shard], [update], tracked=options.tracked)
        if options.durable:
            yield from self.ensure_durable(options)
        yield from self._append([batch], options)
        if failure := _failure([batch]):
            raise failure
        return batch.ids[0]

    def append_chunk(
        self, chunk: UpdateChunk, accepted_before: int, options: AppendOptions
    ) -> ProducerSteps[int]:
        """Append a chunk; return how many updates are accepted, with those of earlier chunks.

        Raises:
            PartlyAccepted, InvalidUpdate: as documented for `Producer.update_many`.
        """
        batches = self._batches(chunk.updates, options)
        yield from self._append(batches, options)
        accepted = accepted_before + sum(len(each.updates) for each in batches if each.appended)
        if failure := _failure(batches):
            refused = [each for each in batches if not each.appended and not each.uncertain]
            uncertain = [each for each in batches if each.uncertain]
            raise PartlyAccepted(
                accepted,
                self._updates_of(refused, chunk),
                self._updates_of(uncertain, chunk),
                failure,
            ) from failure
        if chunk.failure and accepted:
            raise PartlyAccepted(accepted, [], [], chunk.failure) from chunk.failure
        if chunk.failure:
            raise chunk.failure
        return accepted

    def _batches(self, updates: Sequence[OrderUpdate], options: AppendOptions) -> list[ShardBatch]:
        """Return a batch for each shard, with the updates in their order."""
        by_shard: defaultdict[int, list[OrderUpdate]] = defaultdict(list)
        for update in updates:
            by_shard[self.shard_of_order(update.order_id)].append(update)
        return [
            ShardBatch(self._targets[shard], of_shard, tracked=options.tracked)
            for shard, of_shard in by_shard.items()
        ]

    def _updates_of(self, batches: Sequence[ShardBatch], chunk: UpdateChunk) -> list[OrderUpdate]:
        """Return the updates of these batches, in the order of the chunk."""
        shards = {batch.shard for batch in batches}
        return [each for each in chunk.updates if self.shard_of_order(each.order_id) in shards]

    def _append(self, batches: Sequence[ShardBatch], options: AppendOptions) -> ProducerSteps[None]:
        """Append the batches, and wait for room as requested.

        Afterwards each batch is appended, or has a failure, or both.
        """
        waits: Iterator[float] | None = None
        while True:
            yield from self._send(batches, options)
            if repeatable := [batch for batch in batches if batch.is_safe_to_repeat]:
                yield from self._send(repeatable, options)
            batches = [batch for batch in batches if batch.failure]
            if not batches or not all(batch.is_shard_full for batch in batches):
                return
            waits = waits or pauses(options.wait_for_room)
            pause = next(waits, None)
            if pause is None:
                return
            yield Pause(pause)

    def _send(self, batches: Sequence[ShardBatch], options: AppendOptions) -> ProducerSteps[None]:
        """Send the batches, again where the server lacked the script or the layout and did nothing."""
        send = self._send_durably if options.durable else self._send_by_hash
        yield from send(batches)
        if without_layout := [batch for batch in batches if batch.needs_layout]:
            failure = yield from self._set_missing_layouts()
            if failure is None:
                yield from send(without_layout)
                return
            for batch in without_layout:
                batch.fail_layout(failure)

    def _send_by_hash(self, batches: Sequence[ShardBatch]) -> ProducerSteps[None]:
        """Send the batches in one round trip; in two if the server has to learn the script."""
        commands = b"".join([batch.evalsha_command() for batch in batches])
        replies = yield from self._exchange(commands, len(batches))
        yield from _deliver(batches, replies)
        if without_script := [batch for batch in batches if batch.needs_script]:
            commands = b"".join([batch.eval_command() for batch in without_script])
            replies = yield from self._exchange(commands, len(without_script))
            yield from _deliver(without_script, replies)

    def _send_durably(self, batches: Sequence[ShardBatch]) -> ProducerSteps[None]:
        """Send the batches and, in the same round trip, the question whether they are on disk.

        Nudges leave before the disk has answered: no update waits for the fsync of another one.
        """
        commands = b"".join([batch.eval_command() for batch in batches]) + self._fsync_command()
        replies = yield from self._exchange(commands, len(batches), keep=True)
        yield from _deliver(batches, replies)
        confirmation = Replies([], replies.error)
        if not replies.error:
            # The server replies within `_timeout`; the rest is for the network.
            confirmation = yield RoundTrip(b"", 1, 2 * self._timeout)
        for batch in batches:
            batch.confirm_durable(confirmation)

    def _set_missing_layouts(self) -> ProducerSteps[OrderworksError | None]:
        """Set the layout of shards that have none; return why not, if shard 0 does not agree."""
        key, layout = update_layout(0), ShardLayout(self._shards).encode()
        commands = pack_command("SET", key, layout, "NX") + pack_command("GET", key)
        replies = yield from self._exchange(commands, 2)
        stored = replies.received[-1] if len(replies.received) == 2 else replies.error  # noqa: PLR2004
        if isinstance(stored, bytes) and stored != layout:
            return layout_error(stored, self._shards)
        if stored != layout:
            lost = stored if isinstance(stored, redis.RedisError) else None
            return redis_unavailable(lost or redis.ResponseError(NO_LAYOUT))
        others = [update_layout(shard) for shard in range(1, self._shards)]
        if others:
            commands = b"".join([pack_command("SET", other, layout, "NX") for other in others])
            yield from self._exchange(commands, len(others))
        return None

    def _fsync_command(self) -> bytes:
        """Return the command that waits until this server has on disk what the connection sent."""
        milliseconds = max(1, int(self._timeout * 1000))  # 0 would wait without limit
        return pack_command("WAITAOF", 1, 0, milliseconds)

    def _exchange(
        self, commands: bytes, count: int, *, keep: bool = False
    ) -> ProducerSteps[Replies]:
        """Make a round trip, and a second one if the connection failed before anything was sent.

        After a timeout there is no second one: the call has waited long enough.
        """
        request = RoundTrip(commands, count, self._timeout if count > 1 else None, keep)
        replies: Replies = yield request
        if not replies.sent and isinstance(replies.error, redis.ConnectionError):
            yield Pause(RECONNECT_PAUSE)
            replies = yield request
        return replies


def _deliver(batches: Sequence[ShardBatch], replies: Replies) -> ProducerSteps[None]:
    """Give each batch its reply, and nudge the workers where no drain is running or enqueued."""
    for index, batch in enumerate(batches):
        batch.receive(replies, index)
        if batch.appended and batch.appended.needs_nudge:
            yield NudgeEffect(batch.shard)


def _failure(batches: Sequence[ShardBatch]) -> OrderworksError | None:
    """Return the error to raise. NotDurable comes first: no other error lists accepted updates."""
    unsaved = [batch for batch in batches if batch.durability_error]
    if unsaved:
        entries = [entry for batch in unsaved for entry in batch.ids]
        return NotDurable(entries, unsaved[0].durability_error)
    failures = [batch.failure for batch in batches if batch.failure]
    return failures[0] if failures else None
