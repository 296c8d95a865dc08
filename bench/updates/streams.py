"""The update streams of the benchmark's stack: filled without a drain, and checked for emptiness."""

from collections.abc import Iterator
from contextlib import contextmanager

from orderworks.core.keys import update_nudge, update_stream
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream


@contextmanager
def undrained(settings: Settings) -> Iterator[UpdateStream]:
    """Yield streams that are not drained, since nudges seem pending; delete them after the block.

    To start a drain, release a shard's nudge and append an update.
    """
    with make_redis(settings.stream, 5) as client:
        stream = UpdateStream(client, settings.update_shards, settings.stream_limit)
        try:
            for shard in range(stream.shards):
                # Without expiry: an update nudges only if no nudge is pending.
                client.set(update_nudge(shard), b"1")
            yield stream
        finally:
            for shard in range(stream.shards):
                client.delete(update_stream(shard), update_nudge(shard))


def is_empty(stream: UpdateStream) -> bool:
    """Return whether no update is pending: all are committed and their cached reads invalidated."""
    return not any(stream.length(shard) for shard in range(stream.shards))
