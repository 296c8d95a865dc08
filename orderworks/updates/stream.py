"""The Redis streams of accepted updates: append, read from the head, cut the head off.

A shard is one stream, and one drain at a time reads it (a database lock sees to that), so there is no
consumer group: what stands in the stream is what has not been applied. Entries leave it after the
commit that applied them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import redis

from orderworks.core import keys as names
from orderworks.core.errors import Backpressure, OrderworksError
from orderworks.core.redis import Redis
from orderworks.core.versions import entry_id, milliseconds_of, version_of
from orderworks.updates.messages import UpdateOutcome
from orderworks.updates.shard_layout import ShardLayout, ensure_layout, read_layout

NUDGE_SECONDS = 10
"""How long a lost nudge can hold up a shard before the sweep may send another."""

NO_LAYOUT = "LAYOUT none"
"""What the script answers where nobody has said yet of how many shards this is one."""

_FIELD, _TRACK = b"update", b"track"

# All or none of the updates, the layout, the limit, and whether somebody has to wake a drain: one
# round trip.
APPEND = """
local layout = redis.call('GET', KEYS[3])
if layout ~= ARGV[4] then
  return redis.error_reply('LAYOUT ' .. (layout or 'none'))
end
local waiting = redis.call('XLEN', KEYS[1])
if waiting + #ARGV - 4 > tonumber(ARGV[1]) then
  return redis.error_reply('BACKPRESSURE ' .. waiting)
end
local ids = {}
for i = 5, #ARGV do
  if ARGV[3] == '1' then
    ids[i - 4] = redis.call('XADD', KEYS[1], '*', 'update', ARGV[i], 'track', '1')
  else
    ids[i - 4] = redis.call('XADD', KEYS[1], '*', 'update', ARGV[i])
  end
end
local nudge = redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2])
return {nudge and 1 or 0, ids}
"""
"""The server-side script; `append_call` gives its keys and arguments, `read_appended` its answer."""

APPEND_HASH = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()
"""By which a server that ran the script before knows it."""


class StreamEntry(msgspec.Struct, frozen=True, gc=False):
    """One accepted update as the stream holds it.

    Attributes:
        id: `milliseconds-sequence`, which the server gave it.
        version: its place in the order of acceptance.
        payload: what the producer sent.
        tracked: somebody may wait for the verdict.
    """

    id: bytes
    version: int
    payload: bytes
    tracked: bool


@dataclass(frozen=True, slots=True)
class Appended:
    """The entry ids of appended updates, and whether nobody is on the way to drain them yet."""

    ids: list[str]
    needs_nudge: bool


def shard_of(order_id: int, shards: int) -> int:
    """Which of so many shards has all updates of this order."""
    return order_id % shards


class AppendTarget(NamedTuple):
    """Where updates are appended.

    Attributes:
        shard: the shard of all of them.
        shards: of how many it is one.
        limit: entries that it may hold.
    """

    shard: int
    shards: int
    limit: int


def append_call(
    target: AppendTarget, payloads: Sequence[bytes], *, tracked: bool
) -> tuple[tuple[str, ...], tuple[int | bytes, ...]]:
    """Keys and arguments of the script: accept updates of one shard, all or none."""
    shard, shards, limit = target
    keys = (names.update_stream(shard), names.update_nudge(shard), names.update_layout(shard))
    return keys, (limit, NUDGE_SECONDS, int(tracked), shards, *payloads)


def read_appended(answer: Any) -> Appended:  # noqa: ANN401 - what the client makes of the answer
    """What the script answers where it accepted the updates."""
    nudged, ids = answer
    return Appended([each.decode() for each in ids], bool(nudged))


def is_layout_missing(error: redis.RedisError) -> bool:
    """Whether the script accepted nothing because the shard has no word of the layout."""
    return str(error) == NO_LAYOUT


def refusal_error(error: redis.RedisError, target: AppendTarget) -> OrderworksError | None:
    """Why the script accepted nothing; None if the error is another one."""
    code, _, said = str(error).partition(" ")
    if code == "LAYOUT" and not is_layout_missing(error):
        return ShardLayout.decode(said.encode()).mismatch_error(target.shards)
    if code != "BACKPRESSURE":
        return None
    return Backpressure(
        f"shard {target.shard} holds {said} updates that wait, its limit is {target.limit} "
        "(STREAM_LIMIT): let the workers catch up, or start more"
    )


class ShardBacklog(NamedTuple):
    """Updates of one shard that wait.

    Attributes:
        waiting: how many.
        lag: seconds since the oldest was accepted; 0 if none waits.
    """

    shard: int
    waiting: int
    lag: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Updates that wait in the streams, by shard."""

    shards: Sequence[ShardBacklog]

    @property
    def waiting(self) -> int:
        """Number of waiting updates."""
        return sum(each.waiting for each in self.shards)

    @property
    def lag(self) -> float:
        """Seconds since the oldest waiting update was accepted; 0 if none waits."""
        return max(each.lag for each in self.shards)


class UpdateStream:
    """The streams of all shards on one Redis server."""

    def __init__(self, client: Redis, shards: int, limit: int) -> None:
        """`limit` is the number of entries that a shard may hold."""
        self.shards = shards
        self._client = client
        self._limit = limit
        self._append = client.register_script(APPEND)
        # The same connections, but answers as they come: no dictionary for each entry.
        self._reader = redis.Redis(connection_pool=client.connection_pool)
        for command in ("XRANGE", "XREAD"):
            self._reader.set_response_callback(command, lambda answer, **_: answer)

    def shard_of(self, order_id: int) -> int:
        """All updates of one order go to one shard, in order."""
        return shard_of(order_id, self.shards)

    def all_shards(self) -> range:
        """All shards in which updates may wait: the layout may be another one than here."""
        layout = read_layout(self._client) or ShardLayout(self.shards)
        return range(max(self.shards, layout.shards, layout.goal or 0))

    def ensure_layout(self) -> None:
        """Make sure that the updates are spread over so many shards as here; the first one says it.

        Raises:
            Backpressure: the layout changes just now.
            ConfigurationError: they are spread over another number.
        """
        ensure_layout(self._client, self.shards)

    def append(self, shard: int, payloads: Sequence[bytes], *, tracked: bool = False) -> Appended:
        """Accept updates of one shard, all or none. The verdicts of `tracked` ones are kept.

        Raises:
            Backpressure: the shard would hold more entries than its limit, or the layout changes.
            ConfigurationError: the updates are spread over another number of shards.
            redis.RedisError: the server did not answer; the updates may have been accepted.
        """
        target = AppendTarget(shard, self.shards, self._limit)
        try:
            return self._append_with_layout(*append_call(target, payloads, tracked=tracked))
        except redis.ResponseError as error:
            raise refusal_error(error, target) or error from None

    def _append_with_layout(
        self, keys: Sequence[str], arguments: Sequence[int | bytes]
    ) -> Appended:
        """What was appended, where the shard has a word of the layout."""
        try:
            return read_appended(self._append(keys, arguments))
        except redis.ResponseError as error:
            if not is_layout_missing(error):
                raise
        ensure_layout(self._client, self.shards)
        return read_appended(self._append(keys, arguments))

    def read(self, shard: int, count: int) -> list[StreamEntry]:
        """The oldest entries, at most `count`. They stay until they are removed."""
        answer: Any = self._reader.xrange(names.update_stream(shard), count=count)
        return [_entry(entry_id, fields) for entry_id, fields in answer]

    def fetch(self, shard: int, count: int, timeout: float = 0.0) -> list[StreamEntry]:
        """What `read` gives, and the word that a drain is at work: no nudge is needed for a while.

        If there is no entry, it waits for up to `patience` seconds until there is one.
        """
        milliseconds = int(1000 * timeout) or None
        pipeline = self._reader.pipeline(transaction=False)
        pipeline.set(names.update_nudge(shard), b"1", ex=NUDGE_SECONDS)
        pipeline.xread({names.update_stream(shard): "0-0"}, count=count, block=milliseconds)
        # A server whose memory is full refuses the word, and still reads: what waits makes room.
        _held, answer = pipeline.execute(raise_on_error=False)
        if isinstance(answer, redis.RedisError):
            raise answer
        ((_stream, entries),) = dict(answer).items() if answer else ((None, []),)
        return [_entry(entry_id, fields) for entry_id, fields in entries]

    def publish_outcomes(self, shard: int, outcomes: Mapping[int, UpdateOutcome], ttl: int) -> None:
        """Say what became of tracked updates, by place, for `ttl` seconds. The first word stays."""
        if not outcomes:
            return
        pipeline = self._client.pipeline(transaction=False)
        for version, outcome in outcomes.items():
            key = names.update_verdict(shard, entry_id(version))
            pipeline.set(key, outcome.encode(), ex=ttl, nx=True)
        pipeline.execute()

    def trim(self, shard: int, entries: Sequence[StreamEntry]) -> None:
        """Cut off what a committed batch has applied: these, which are the oldest of the stream."""
        if entries:
            # All at once by the place of the last one: the server takes no look at each.
            after = entry_id(entries[-1].version + 1)
            self._client.xtrim(names.update_stream(shard), minid=after, approximate=False)

    def length(self, shard: int) -> int:
        """How many updates of the shard wait."""
        return int(self._client.xlen(names.update_stream(shard)))

    def backlog(self) -> Backlog:
        """The waiting updates of every shard, with ages by the server's clock, which gave the ids."""
        shards = self.all_shards()
        pipeline = self._reader.pipeline(transaction=False)
        for shard in shards:
            pipeline.xlen(names.update_stream(shard))
            pipeline.xrange(names.update_stream(shard), count=1)
        pipeline.time()
        *replies, (seconds, microseconds) = pipeline.execute()
        now = seconds + microseconds / 1e6
        lengths, heads = replies[::2], replies[1::2]
        return Backlog(
            [ShardBacklog(*each) for each in zip(shards, lengths, _ages(heads, now), strict=True)]
        )

    def acquire_nudge(self, shard: int) -> bool:
        """Become the one who nudges this shard; false if a nudge or a drain is under way.

        With a server whose memory is full it is everybody: a nudge too many does no harm.
        """
        try:
            taken = self._client.set(names.update_nudge(shard), b"1", nx=True, ex=NUDGE_SECONDS)
        except redis.exceptions.OutOfMemoryError:
            return True
        return bool(taken)

    def hold_nudge(self, shard: int) -> None:
        """Say that a drain is at work: no nudge is needed for a while."""
        self._client.set(names.update_nudge(shard), b"1", ex=NUDGE_SECONDS)

    def release_nudge(self, shard: int) -> int:
        """Ask for a nudge again with the next update, and only then look: how many wait."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(names.update_nudge(shard))
        pipeline.xlen(names.update_stream(shard))
        return int(pipeline.execute()[-1])


def _ages(heads: Iterable[Any], now: float) -> Iterator[float]:
    """Seconds since the first entry of each stream was added; 0 for an empty stream."""
    for head in heads:
        accepted = milliseconds_of(version_of(head[0][0])) / 1000 if head else now
        yield max(0.0, now - accepted)


def _entry(entry_id: bytes, fields: list[bytes]) -> StreamEntry:
    """An entry from its fields as the server lists them: name, value, name, value, and so on."""
    if len(fields) == 2:  # noqa: PLR2004 - nearly always: one name and its value
        payload = fields[1] if fields[0] == _FIELD else b""
        return StreamEntry(entry_id, version_of(entry_id), payload, tracked=False)
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return StreamEntry(entry_id, version_of(entry_id), named.get(_FIELD, b""), _TRACK in named)
