"""How updates are accepted: what is sent when, what may be sent again, and how it adds up.

Steps without I/O, which the sync and the async client carry out alike.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import redis

from orderworks.core.errors import ConfigurationError, NotDurable, OrderworksError, PartlyAccepted
from orderworks.core.keys import update_layout
from orderworks.core.redis import packed, redis_unavailable
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.shard_layout import Layout
from orderworks.updates.stream import Target, shard_of
from producer.effects import Answers, Ask, Nudge, Pause, Steps, pauses
from producer.updates.chunking import Chunk, checked
from producer.updates.shard_batch import Part

CHUNK = 1000
"""Updates that `update_many` sends in one go: past this, more bring nothing."""

DURABLE_CHUNK = 10_000
"""The same where each go waits for an fsync: 0.1 s on Valkey 9.1 with `appendfsync everysec`, up to a
second on others. A script with so many entries holds others up for about 20 ms."""

RECONNECT_PAUSE = 0.05
"""Seconds until a connection that failed is tried once more."""


class Wanted(NamedTuple):
    """What a caller asks for beside the acceptance.

    Attributes:
        wait_for_room: seconds to wait while a shard is full.
        durable: return only when the server has the updates on disk.
        tracked: keep the verdicts.
    """

    wait_for_room: float = 0
    durable: bool = False
    tracked: bool = False


class Appends:
    """Accepts updates into the streams that the settings name. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._shards = settings.update_shards
        self._limit = settings.stream_limit
        self._patience = settings.redis_timeout
        self._keeps_a_file = False

    def chunk_size(self, wanted: Wanted) -> int:
        """How many updates make a chunk; no more than fit into an empty shard."""
        return min(DURABLE_CHUNK, self._limit) if wanted.durable else CHUNK

    def shard_of(self, update: OrderUpdate) -> int:
        """The shard that has the updates of this one's order."""
        return shard_of(update.order_id, self._shards)

    def shard_of_order(self, order_id: int) -> int:
        """The shard that has the updates of this order."""
        return shard_of(order_id, self._shards)

    def ready(self, wanted: Wanted) -> Steps[None]:
        """Make sure that what is wanted can be had, before anything is taken or accepted.

        Raises:
            ConfigurationError: it is to be durable, and the server keeps no append-only file.
            Unavailable: the server does not say.
        """
        if not wanted.durable or self._keeps_a_file:
            return
        answers = yield from self._ask(packed("WAITAOF", 1, 0, 1), 1)
        if answers.lost:
            raise redis_unavailable(answers.lost) from answers.lost
        if isinstance(answers.given[0], redis.RedisError):
            raise ConfigurationError(
                f"REDIS_URL: this server cannot say what it has on disk ({answers.given[0]}): give it "
                "`appendonly yes` (Valkey, or Redis 7.2 and later), or do without durable=True"
            )
        self._keeps_a_file = True

    def one(self, update: OrderUpdate, wanted: Wanted) -> Steps[str]:
        """Accept one update; its entry id.

        Raises:
            InvalidUpdate, Backpressure, Unavailable, NotDurable: as `Producer.update` says.
        """
        part = self._part(self.shard_of(checked(update)), [update], wanted)
        yield from self.ready(wanted)
        yield from self._settle([part], wanted)
        if failure := _failure([part]):
            raise failure
        return part.ids[0]

    def chunk(self, chunk: Chunk, before: int, wanted: Wanted) -> Steps[int]:
        """Accept a chunk of many, after so many that are accepted; how many are then.

        Raises:
            PartlyAccepted, InvalidUpdate: as `Producer.update_many` says.
        """
        parts = self._split(chunk.updates, wanted)
        yield from self._settle(parts, wanted)
        accepted = before + sum(len(part.updates) for part in parts if part.appended)
        if failure := _failure(parts):
            refused = [part for part in parts if not part.appended and not part.uncertain]
            uncertain = [part for part in parts if part.uncertain]
            raise PartlyAccepted(
                accepted, self._of(refused, chunk), self._of(uncertain, chunk), failure
            ) from failure
        if chunk.failure and accepted:
            raise PartlyAccepted(accepted, [], [], chunk.failure) from chunk.failure
        if chunk.failure:
            raise chunk.failure
        return accepted

    def _part(self, shard: int, updates: Sequence[OrderUpdate], wanted: Wanted) -> Part:
        target = Target(shard, self._shards, self._limit)
        return Part(target, updates, tracked=wanted.tracked)

    def _split(self, updates: Sequence[OrderUpdate], wanted: Wanted) -> list[Part]:
        """The updates by shard, those of one order in their order."""
        shares: defaultdict[int, list[OrderUpdate]] = defaultdict(list)
        for update in updates:
            shares[shard_of(update.order_id, self._shards)].append(update)
        return [self._part(shard, share, wanted) for shard, share in shares.items()]

    def _of(self, parts: Sequence[Part], chunk: Chunk) -> list[OrderUpdate]:
        """The updates of these parts, in the order in which they came."""
        shards = {part.shard for part in parts}
        return [each for each in chunk.updates if self.shard_of(each) in shards]

    def _settle(self, parts: Sequence[Part], wanted: Wanted) -> Steps[None]:
        """Append the parts; afterwards each of them is appended or has a failure, or both."""
        yield from self._append(parts, wanted)
        if wanted.wait_for_room:
            yield from self._wait_for_room(parts, wanted)

    def _wait_for_room(self, parts: Sequence[Part], wanted: Wanted) -> Steps[None]:
        """Append again what found no room, until it does or the time is over."""
        for pause in pauses(wanted.wait_for_room):
            failed = [part for part in parts if part.failure]
            if not failed or not all(part.has_no_room for part in failed):
                return
            yield Pause(pause)
            yield from self._append(failed, wanted)

    def _append(self, parts: Sequence[Part], wanted: Wanted) -> Steps[None]:
        """Append the parts if there is room; those that may be repeated once more."""
        send = self._send_durably if wanted.durable else self._send
        yield from send(parts)
        if wordless := [part for part in parts if part.needs_layout]:
            if agreed := (yield from self._agree(wordless)):
                yield from send(agreed)
            for part in wordless:
                part.expect_layout()
        if again := [part for part in parts if part.may_be_repeated]:
            yield from send(again)

    def _send(self, parts: Sequence[Part]) -> Steps[None]:
        """Send the parts in one round trip; two, where the server has to learn the script."""
        answers = yield from self._ask(b"".join([part.by_hash() for part in parts]), len(parts))
        yield from _take(parts, answers)
        if strange := [part for part in parts if part.needs_script]:
            answers = yield from self._ask(
                b"".join([part.in_full() for part in strange]), len(strange)
            )
            yield from _take(strange, answers)

    def _agree(self, parts: Sequence[Part]) -> Steps[Sequence[Part]]:
        """Let shards without a word be of as many as here, if that is the layout; the parts, if so."""
        first, word = update_layout(0), Layout(self._shards).encode()
        asked = packed("SET", first, word, "NX") + packed("GET", first)
        answers = yield from self._ask(asked, 2)
        said = answers.given[-1] if len(answers.given) == 2 else answers.lost  # noqa: PLR2004
        if said != word:
            for part in parts:
                part.refuse(said)
            return []
        others = range(1, self._shards)
        words = [packed("SET", update_layout(shard), word, "NX") for shard in others]
        if words:
            yield from self._ask(b"".join(words), len(words))
        return parts

    def _send_durably(self, parts: Sequence[Part]) -> Steps[None]:
        """Send the parts and the question whether they are on disk in one go.

        Nudges leave before the disk has answered: nobody else's updates wait for that.
        """
        commands = b"".join([part.in_full() for part in parts]) + self._wait_for_disk()
        answers = yield from self._ask(commands, len(parts), keep=True)
        yield from _take(parts, answers)
        said = Answers([], answers.lost)
        if not answers.lost:
            # The server answers after `_patience` at the latest; the rest is for the way.
            said = yield Ask(b"", 1, 2 * self._patience)
        for part in parts:
            part.confirm(said)

    def _wait_for_disk(self) -> bytes:
        """Asks to wait until this server itself has all that came over the connection on disk."""
        return packed("WAITAOF", 1, 0, max(1, int(self._patience * 1000)))  # 0 would be for ever

    def _ask(self, commands: bytes, count: int, *, keep: bool = False) -> Steps[Answers]:
        """Ask, and once more if the connection failed before anything was sent.

        A connection that timed out is not tried again: the call has waited long enough.
        """
        question = Ask(commands, count, self._patience if count > 1 else None, keep)
        answers: Answers = yield question
        if not answers.sent and isinstance(answers.lost, redis.ConnectionError):
            yield Pause(RECONNECT_PAUSE)
            answers = yield question
        return answers


def _take(parts: Sequence[Part], answers: Answers) -> Steps[None]:
    """Give each part its answer, and nudge where nobody is on the way to drain its shard."""
    for number, part in enumerate(parts):
        part.take(answers, number)
        if part.appended and part.appended.needs_nudge:
            yield Nudge(part.shard)


def _failure(parts: Sequence[Part]) -> OrderworksError | None:
    """What the caller is told. What is accepted and not on disk goes first: no account lists it."""
    unsaved = [part for part in parts if part.unsaved]
    if unsaved:
        entries = [entry for part in unsaved for entry in part.ids]
        return NotDurable(entries, unsaved[0].unsaved)
    return next((part.failure for part in parts if part.failure), None)
