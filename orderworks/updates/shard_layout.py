"""The layout of the update streams: over how many shards they are spread, and that all agree on it.

All updates of an order have to go through one stream, or their order is lost. So each shard has a key
beside its stream that says of how many it is one, and the script that appends looks at it. The word of
shard 0, which is in every layout, counts: where a shard has none, that one is asked, and a change begins
and ends with it (`orderworks/updates/resharding.py`).
"""

from typing import Any, NamedTuple, Self

from orderworks.core import keys
from orderworks.core.errors import Backpressure, ConfigurationError, OrderworksError
from orderworks.core.redis import Redis

_CHANGING = b">"


class ShardLayout(NamedTuple):
    """What a shard's key says.

    Attributes:
        shards: over how many shards what waits is spread.
        goal: over how many it is to be spread; None unless that changes, and nobody appends.
    """

    shards: int
    goal: int | None = None

    def encode(self) -> bytes:
        """As it is kept: `2`; or `2>4` while it changes."""
        return b"%d" % self.shards if self.goal is None else b"%d>%d" % (self.shards, self.goal)

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read what `encode` wrote."""
        shards, changing, goal = document.partition(_CHANGING)
        return cls(int(shards), int(goal) if changing else None)

    def mismatch_error(self, shards: int) -> OrderworksError:
        """Why somebody with so many shards cannot append now."""
        if self.goal is not None:
            return Backpressure(
                f"the updates are spread over {self.goal} shards instead of {self.shards} just now: "
                "try again in a moment; if it lasts, `orderworks reshard` was interrupted"
            )
        return ConfigurationError(
            f"UPDATE_SHARDS is {shards} here, but the updates are spread over {self.shards} shards: set "
            f"UPDATE_SHARDS={self.shards} and start again, or change it with `orderworks reshard`"
        )


def ensure_layout(client: Redis, shards: int) -> None:
    """Let shards that have no word be of so many, if that is the layout; it is, where nobody said.

    Raises:
        Backpressure: the layout changes just now.
        ConfigurationError: the updates are spread over another number of shards.
    """
    first, word = keys.update_layout(0), ShardLayout(shards).encode()
    pipeline = client.pipeline(transaction=False)
    pipeline.set(first, word, nx=True)
    pipeline.get(first)
    said = pipeline.execute()[-1]
    if said != word:
        raise ShardLayout.decode(said).mismatch_error(shards)
    # Should the layout be changed meanwhile, they all have a word by now, and this does nothing.
    for shard in range(1, shards):
        pipeline.set(keys.update_layout(shard), word, nx=True)
    pipeline.execute()


def read_layout(client: Redis) -> ShardLayout | None:
    """The layout that counts; None if nobody has appended yet."""
    said: Any = client.get(keys.update_layout(0))
    return None if said is None else ShardLayout.decode(said)
