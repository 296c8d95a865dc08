"""Cached reads and their invalidation: the names that an application imports.

    from orderworks.cache import Cache, invalidate

The files in the order of a read: `decorators` wraps a function, `call_keys` names a call, `read_through`
serves or computes the value, `single_flight` and `backend` are what it needs for that, `codec` turns the
value into bytes, `stats` counts. `effects` performs the steps of a read, for an event loop with the
clients of `event_loops`. `invalidation` is what writers call.
"""

from orderworks.cache.decorators import Cache
from orderworks.cache.invalidation import invalidate
from orderworks.cache.stats import READS, Count, cache_counts, hit_rate

__all__ = ["READS", "Cache", "Count", "cache_counts", "hit_rate", "invalidate"]
