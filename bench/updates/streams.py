"""The update streams of the benchmark's own stack: filled while nobody drains them, emptied."""

from collections.abc import Iterator
from contextlib import contextmanager

from orderworks.core.keys import update_nudge, update_stream
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream


@contextmanager
def undrained(settings: Settings) -> Iterator[UpdateStream]:
    """Streams that only grow until a nudge is dropped and the next update nudges; empty at the end."""
    with make_redis(settings.stream, 5) as client:
        stream = UpdateStream(client, settings.update_shards, settings.stream_limit)
        try:
            for shard in range(stream.shards):
                # Set for good: an update nudges only where nobody has.
                client.set(update_nudge(shard), b"1")
            yield stream
        finally:
            for shard in range(stream.shards):
                client.delete(update_stream(shard), update_nudge(shard))


def is_empty(stream: UpdateStream) -> bool:
    """Whether no update waits: all are committed, and their cached reads dropped."""
    return not any(stream.length(shard) for shard in range(stream.shards))
