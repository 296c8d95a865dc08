"""The Redis streams of accepted updates: append, read the oldest entries, trim them.

A shard is one stream, and a database lock makes sure that only one drain reads it. So there is no
consumer group: the stream has the entries that are not applied yet. They are trimmed after the commit
that applied them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import redis

from orderworks.core import keys as names
from orderworks.core.errors import Backpressure, ConfigurationError, OrderworksError
from orderworks.core.redis import Redis
from orderworks.core.versions import milliseconds_of, next_entry_id, version_of
from orderworks.updates.messages import UpdateOutcome
from orderworks.updates.shard_layout import (
    ShardLayout,
    ensure_layout,
    layout_error,
    read_layout,
)

NUDGE_SECONDS = 10
"""Seconds for which a lost nudge can delay a shard before the sweep may send another."""

NO_LAYOUT = "LAYOUT none"
"""The script's error if the shard has no layout key."""

_FIELD, _TRACK = b"update", b"track"

# Checks the layout and the limit, appends all updates or none, and reserves the nudge.
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
"""The server-side script. `append_call` has its keys and arguments; `read_appended` reads its reply."""

RESTART_IDS = """
if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""
"""The server-side script that deletes an empty stream, and with it its last id."""

APPEND_HASH = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()
"""The hash for EVALSHA."""


class StreamEntry(msgspec.Struct, frozen=True, gc=False):
    """An accepted update in the stream.

    Attributes:
        id: `milliseconds-sequence`, assigned by the server.
        version: its position in the order of acceptance.
        payload: what the producer sent.
        tracked: its verdict is to be published.
    """

    id: bytes
    version: int
    payload: bytes
    tracked: bool


@dataclass(frozen=True, slots=True)
class Appended:
    """The entry ids of appended updates, and whether a drain still has to be enqueued."""

    ids: list[str]
    needs_nudge: bool


def shard_of(order_id: int, shards: int) -> int:
    """Return the shard, of `shards`, that has all updates of this order."""
    return order_id % shards


class AppendTarget(NamedTuple):
    """The shard to which updates are appended.

    Attributes:
        shard: its number.
        shards: the number of all shards.
        limit: the number of entries that it may hold.
    """

    shard: int
    shards: int
    limit: int


def append_call(
    target: AppendTarget, payloads: Sequence[bytes], *, tracked: bool
) -> tuple[tuple[str, ...], tuple[int | bytes, ...]]:
    """Return the keys and arguments of the script that appends updates of a shard, all or none."""
    shard, shards, limit = target
    keys = (names.update_stream(shard), names.update_nudge(shard), names.update_layout(shard))
    return keys, (limit, NUDGE_SECONDS, int(tracked), shards, *payloads)


def read_appended(reply: Any) -> Appended:  # noqa: ANN401 - as redis-py returns it
    """Read the script's reply after an append."""
    needs_nudge, ids = reply
    return Appended([each.decode() for each in ids], bool(needs_nudge))


def is_layout_missing(error: redis.RedisError) -> bool:
    """Return whether the script appended nothing because the shard has no layout key."""
    return str(error) == NO_LAYOUT


def refusal_error(error: redis.RedisError, target: AppendTarget) -> OrderworksError | None:
    """Return the error for the caller if the script refused the append; None for other errors."""
    code, _, detail = str(error).partition(" ")
    if code == "LAYOUT" and not is_layout_missing(error):
        return layout_error(detail.encode(), target.shards)
    if code != "BACKPRESSURE":
        return None
    return Backpressure(
        f"shard {target.shard} has {detail} waiting updates, its limit is {target.limit} "
        "(STREAM_LIMIT): wait for the workers, or start more"
    )


class ShardBacklog(NamedTuple):
    """The waiting updates of a shard.

    Attributes:
        shard: its number.
        waiting: the number of waiting updates.
        lag: seconds since the oldest was accepted; 0 without any.
    """

    shard: int
    waiting: int
    lag: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """The waiting updates of all streams, by shard."""

    shards: Sequence[ShardBacklog]

    @property
    def waiting(self) -> int:
        """The number of waiting updates."""
        return sum(each.waiting for each in self.shards)

    @property
    def lag(self) -> float:
        """Seconds since the oldest waiting update was accepted; 0 without any."""
        return max(each.lag for each in self.shards)


class UpdateStream:
    """The streams of all shards on one Redis server."""

    def __init__(self, client: Redis, shards: int, limit: int) -> None:
        """`limit` is the number of entries that a shard may hold."""
        self.shards = shards
        self._client = client
        self._limit = limit
        self._append = client.register_script(APPEND)
        self._restart_ids = client.register_script(RESTART_IDS)
        # The same connections, but raw replies: no dictionary for each entry.
        self._reader = redis.Redis(connection_pool=client.connection_pool)
        for command in ("XRANGE", "XREAD"):
            self._reader.set_response_callback(command, lambda reply, **_: reply)

    def shard_of(self, order_id: int) -> int:
        """Return the shard of the order; all its updates are there, in order."""
        return shard_of(order_id, self.shards)

    def all_shards(self) -> range:
        """Return all shards that may have updates: the layout may differ from the settings.

        Where its key is damaged, those of the settings: the sweep logs that, and producers are refused.
        """
        layout = ShardLayout(self.shards)
        with suppress(ConfigurationError):
            layout = read_layout(self._client) or layout
        return range(max(self.shards, layout.shards, layout.goal or 0))

    def ensure_layout(self) -> None:
        """Check that the layout is that of the settings; set it if no shard has one.

        Raises:
            Backpressure: the layout is being changed.
            ConfigurationError: the updates are spread over another number of shards.
        """
        ensure_layout(self._client, self.shards)

    def append(self, shard: int, payloads: Sequence[bytes], *, tracked: bool = False) -> Appended:
        """Append updates of a shard, all or none; return their ids. `tracked` has verdicts published.

        Raises:
            Backpressure: the shard would exceed its limit, or the layout is being changed.
            ConfigurationError: the updates are spread over another number of shards.
            redis.RedisError: the server did not reply; the updates may have been accepted.
        """
        target = AppendTarget(shard, self.shards, self._limit)
        try:
            return self._append_with_layout(*append_call(target, payloads, tracked=tracked))
        except redis.ResponseError as error:
            raise refusal_error(error, target) or error from None

    def _append_with_layout(
        self, keys: Sequence[str], arguments: Sequence[int | bytes]
    ) -> Appended:
        """Append, and once more if the shard had no layout key."""
        try:
            return read_appended(self._append(keys, arguments))
        except redis.ResponseError as error:
            if not is_layout_missing(error):
                raise
        ensure_layout(self._client, self.shards)
        return read_appended(self._append(keys, arguments))

    def read(self, shard: int, count: int) -> list[StreamEntry]:
        """Return the oldest entries, at most `count`. They stay until they are trimmed."""
        reply: Any = self._reader.xrange(names.update_stream(shard), count=count)
        return [_entry(entry_id, fields) for entry_id, fields in reply]

    def fetch(self, shard: int, count: int, timeout: float = 0.0) -> list[StreamEntry]:
        """Return the oldest entries as `read` does, and hold the nudge, because a drain is running.

        If there is no entry, it waits for one for up to `timeout` seconds.
        """
        milliseconds = int(1000 * timeout) or None
        pipeline = self._reader.pipeline(transaction=False)
        pipeline.set(names.update_nudge(shard), b"1", ex=NUDGE_SECONDS)
        pipeline.xread({names.update_stream(shard): "0-0"}, count=count, block=milliseconds)
        # A server whose memory is full refuses the SET, but can read: to drain entries makes room.
        _set, reply = pipeline.execute(raise_on_error=False)
        if isinstance(reply, redis.RedisError):
            raise reply
        ((_stream, entries),) = dict(reply).items() if reply else ((None, []),)
        return [_entry(entry_id, fields) for entry_id, fields in entries]

    def publish_outcomes(self, shard: int, outcomes: Mapping[str, UpdateOutcome], ttl: int) -> None:
        """Publish outcomes, by entry id, for `ttl` seconds. The first outcome of an entry stays."""
        if not outcomes:
            return
        pipeline = self._client.pipeline(transaction=False)
        for entry_id, outcome in outcomes.items():
            key = names.update_verdict(shard, entry_id)
            pipeline.set(key, outcome.encode(), ex=ttl, nx=True)
        pipeline.execute()

    def trim(self, shard: int, entries: Sequence[StreamEntry]) -> None:
        """Remove the entries of a committed batch, which are the oldest of the stream."""
        if entries:
            # By the id of the last one, so that the server does not search for each.
            after = next_entry_id(entries[-1].id)
            self._client.xtrim(names.update_stream(shard), minid=after, approximate=False)

    def restart_ids(self, shard: int) -> bool:
        """Have the ids of an empty stream follow the clock again; return false if it has entries.

        The server gives each entry a higher id than the one before, even if a client chose that.
        """
        return bool(self._restart_ids(keys=[names.update_stream(shard)]))

    def length(self, shard: int) -> int:
        """Return the number of waiting updates of the shard."""
        return int(self._client.xlen(names.update_stream(shard)))

    def backlog(self) -> Backlog:
        """Return the waiting updates of every shard; the lag is by the server's clock, as ids are."""
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
        """Reserve the nudge of this shard; return false if one is queued or a drain is running.

        If the server's memory is full every caller gets true: an additional nudge does no harm.
        """
        try:
            acquired = self._client.set(names.update_nudge(shard), b"1", nx=True, ex=NUDGE_SECONDS)
        except redis.exceptions.OutOfMemoryError:
            return True
        return bool(acquired)

    def hold_nudge(self, shard: int) -> None:
        """Record that a drain is running: no nudge is needed for `NUDGE_SECONDS`."""
        self._client.set(names.update_nudge(shard), b"1", ex=NUDGE_SECONDS)

    def release_nudge(self, shard: int) -> int:
        """Have the next update nudge again, and then return the number of waiting updates."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(names.update_nudge(shard))
        pipeline.xlen(names.update_stream(shard))
        return int(pipeline.execute()[-1])


def _ages(heads: Iterable[Any], now: float) -> Iterator[float]:
    """Yield the seconds since the first entry of each stream was added; 0 for an empty stream."""
    for head in heads:
        accepted = milliseconds_of(version_of(head[0][0])) / 1000 if head else now
        yield max(0.0, now - accepted)


def _entry(entry_id: bytes, fields: list[bytes]) -> StreamEntry:
    """Return an entry from its fields as the server lists them: name, value, name, value, …."""
    if len(fields) == 2:  # noqa: PLR2004 - nearly always: one name and its value
        payload = fields[1] if fields[0] == _FIELD else b""
        return StreamEntry(entry_id, version_of(entry_id), payload, tracked=False)
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return StreamEntry(entry_id, version_of(entry_id), named.get(_FIELD, b""), _TRACK in named)
