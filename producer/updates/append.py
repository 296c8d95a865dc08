"""How updates are accepted: what is sent when, what may be sent again, and how it adds up.

Steps without I/O, which the sync and the async client carry out alike.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import redis

from orderworks.core.effects import Pause
from orderworks.core.errors import ConfigurationError, NotDurable, OrderworksError, PartlyAccepted
from orderworks.core.keys import update_layout
from orderworks.core.redis import pack_command, redis_unavailable
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.shard_layout import ShardLayout
from orderworks.updates.stream import AppendTarget, shard_of
from producer.effects import NudgeEffect, ProducerSteps, Replies, RoundTrip, pauses
from producer.updates.chunking import UpdateChunk, require_update
from producer.updates.shard_batch import ShardBatch

CHUNK_SIZE = 1000
"""Updates that `update_many` sends in one go: past this, more bring nothing."""

DURABLE_CHUNK_SIZE = 10_000
"""The same where each go waits for an fsync: 0.1 s on Valkey 9.1 with `appendfsync everysec`, up to a
second on others. A script with so many entries holds others up for about 20 ms."""

RECONNECT_PAUSE = 0.05
"""Seconds until a connection that failed is tried once more."""


class AppendOptions(NamedTuple):
    """What a caller asks for beside the acceptance.

    Attributes:
        wait_for_room: seconds to wait while a shard is full.
        durable: return only when the server has the updates on disk.
        tracked: keep the verdicts.
    """

    wait_for_room: float = 0
    durable: bool = False
    tracked: bool = False


class Appender:
    """Accepts updates into the streams that the settings name. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._shards = settings.update_shards
        self._limit = settings.stream_limit
        self._timeout = settings.redis_timeout
        self._has_append_only_file = False

    def chunk_size(self, options: AppendOptions) -> int:
        """How many updates make a chunk; no more than fit into an empty shard."""
        return min(DURABLE_CHUNK_SIZE, self._limit) if options.durable else CHUNK_SIZE

    def shard_of(self, update: OrderUpdate) -> int:
        """The shard that has the updates of this one's order."""
        return shard_of(update.order_id, self._shards)

    def shard_of_order(self, order_id: int) -> int:
        """The shard that has the updates of this order."""
        return shard_of(order_id, self._shards)

    def ensure_durable(self, options: AppendOptions) -> ProducerSteps[None]:
        """Make sure that what is wanted can be had, before anything is taken or accepted.

        Raises:
            ConfigurationError: it is to be durable, and the server keeps no append-only file.
            Unavailable: the server does not say.
        """
        if not options.durable or self._has_append_only_file:
            return
        answers = yield from self._exchange(pack_command("WAITAOF", 1, 0, 1), 1)
        if answers.error:
            raise redis_unavailable(answers.error) from answers.error
        if isinstance(answers.received[0], redis.RedisError):
            raise ConfigurationError(
                f"REDIS_URL: this server cannot say what it has on disk ({answers.received[0]}): "
                "give it `appendonly yes` (Valkey, or Redis 7.2 and later), or do without durable=True"
            )
        self._has_append_only_file = True

    def append_one(self, update: OrderUpdate, options: AppendOptions) -> ProducerSteps[str]:
        """Accept one update; its entry id.

        Raises:
            InvalidUpdate, Backpressure, Unavailable, NotDurable: as `Producer.update` says.
        """
        part = self._batch(self.shard_of(require_update(update)), [update], options)
        yield from self.ensure_durable(options)
        yield from self._append_with_room([part], options)
        if failure := _failure([part]):
            raise failure
        return part.ids[0]

    def append_chunk(
        self, chunk: UpdateChunk, before: int, options: AppendOptions
    ) -> ProducerSteps[int]:
        """Accept a chunk of many, after so many that are accepted; how many are then.

        Raises:
            PartlyAccepted, InvalidUpdate: as `Producer.update_many` says.
        """
        parts = self._batches(chunk.updates, options)
        yield from self._append_with_room(parts, options)
        accepted = before + sum(len(part.updates) for part in parts if part.appended)
        if failure := _failure(parts):
            refused = [part for part in parts if not part.appended and not part.uncertain]
            uncertain = [part for part in parts if part.uncertain]
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

    def _batch(
        self, shard: int, updates: Sequence[OrderUpdate], options: AppendOptions
    ) -> ShardBatch:
        target = AppendTarget(shard, self._shards, self._limit)
        return ShardBatch(target, updates, tracked=options.tracked)

    def _batches(self, updates: Sequence[OrderUpdate], options: AppendOptions) -> list[ShardBatch]:
        """The updates by shard, those of one order in their order."""
        shares: defaultdict[int, list[OrderUpdate]] = defaultdict(list)
        for update in updates:
            shares[shard_of(update.order_id, self._shards)].append(update)
        return [self._batch(shard, share, options) for shard, share in shares.items()]

    def _updates_of(self, batches: Sequence[ShardBatch], chunk: UpdateChunk) -> list[OrderUpdate]:
        """The updates of these parts, in the order in which they came."""
        shards = {part.shard for part in batches}
        return [each for each in chunk.updates if self.shard_of(each) in shards]

    def _append_with_room(
        self, batches: Sequence[ShardBatch], options: AppendOptions
    ) -> ProducerSteps[None]:
        """Append the parts; afterwards each of them is appended or has a failure, or both."""
        yield from self._append(batches, options)
        if options.wait_for_room:
            yield from self._wait_for_room(batches, options)

    def _wait_for_room(
        self, batches: Sequence[ShardBatch], options: AppendOptions
    ) -> ProducerSteps[None]:
        """Append again what found no room, until it does or the time is over."""
        for pause in pauses(options.wait_for_room):
            failed = [part for part in batches if part.failure]
            if not failed or not all(part.is_shard_full for part in failed):
                return
            yield Pause(pause)
            yield from self._append(failed, options)

    def _append(self, batches: Sequence[ShardBatch], options: AppendOptions) -> ProducerSteps[None]:
        """Append the parts if there is room; those that may be repeated once more."""
        send = self._send_durably if options.durable else self._send
        yield from send(batches)
        if wordless := [part for part in batches if part.needs_layout]:
            if agreed := (yield from self._set_missing_layouts(wordless)):
                yield from send(agreed)
            for part in wordless:
                part.require_layout()
        if again := [part for part in batches if part.is_safe_to_repeat]:
            yield from send(again)

    def _send(self, batches: Sequence[ShardBatch]) -> ProducerSteps[None]:
        """Send the parts in one round trip; two, where the server has to learn the script."""
        answers = yield from self._exchange(
            b"".join([part.evalsha_command() for part in batches]), len(batches)
        )
        yield from _deliver_answers(batches, answers)
        if strange := [part for part in batches if part.needs_script]:
            answers = yield from self._exchange(
                b"".join([part.eval_command() for part in strange]), len(strange)
            )
            yield from _deliver_answers(strange, answers)

    def _set_missing_layouts(
        self, batches: Sequence[ShardBatch]
    ) -> ProducerSteps[Sequence[ShardBatch]]:
        """Let shards without a word be of as many as here, if that is the layout; the parts, if so."""
        first, word = update_layout(0), ShardLayout(self._shards).encode()
        asked = pack_command("SET", first, word, "NX") + pack_command("GET", first)
        answers = yield from self._exchange(asked, 2)
        said = answers.received[-1] if len(answers.received) == 2 else answers.error  # noqa: PLR2004
        if said != word:
            for part in batches:
                part.fail_layout(said)
            return []
        others = range(1, self._shards)
        words = [pack_command("SET", update_layout(shard), word, "NX") for shard in others]
        if words:
            yield from self._exchange(b"".join(words), len(words))
        return batches

    def _send_durably(self, batches: Sequence[ShardBatch]) -> ProducerSteps[None]:
        """Send the parts and the question whether they are on disk in one go.

        Nudges leave before the disk has answered: nobody else's updates wait for that.
        """
        commands = b"".join([part.eval_command() for part in batches]) + self._fsync_command()
        answers = yield from self._exchange(commands, len(batches), keep=True)
        yield from _deliver_answers(batches, answers)
        said = Replies([], answers.error)
        if not answers.error:
            # The server answers after `_patience` at the latest; the rest is for the way.
            said = yield RoundTrip(b"", 1, 2 * self._timeout)
        for part in batches:
            part.confirm_durable(said)

    def _fsync_command(self) -> bytes:
        """Asks to wait until this server itself has all that came over the connection on disk."""
        return pack_command(
            "WAITAOF", 1, 0, max(1, int(self._timeout * 1000))
        )  # 0 would be for ever

    def _exchange(
        self, commands: bytes, count: int, *, keep: bool = False
    ) -> ProducerSteps[Replies]:
        """Ask, and once more if the connection failed before anything was sent.

        A connection that timed out is not tried again: the call has waited long enough.
        """
        question = RoundTrip(commands, count, self._timeout if count > 1 else None, keep)
        answers: Replies = yield question
        if not answers.sent and isinstance(answers.error, redis.ConnectionError):
            yield Pause(RECONNECT_PAUSE)
            answers = yield question
        return answers


def _deliver_answers(batches: Sequence[ShardBatch], answers: Replies) -> ProducerSteps[None]:
    """Give each part its answer, and nudge where nobody is on the way to drain its shard."""
    for number, part in enumerate(batches):
        part.receive(answers, number)
        if part.appended and part.appended.needs_nudge:
            yield NudgeEffect(part.shard)


def _failure(batches: Sequence[ShardBatch]) -> OrderworksError | None:
    """What the caller is told. What is accepted and not on disk goes first: no account lists it."""
    unsaved = [part for part in batches if part.durability_error]
    if unsaved:
        entries = [entry for part in unsaved for entry in part.ids]
        return NotDurable(entries, unsaved[0].durability_error)
    return next((part.failure for part in batches if part.failure), None)
