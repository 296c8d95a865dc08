"""Cached reads and their invalidation: what an application's process imports.

from orderworks.cache import Cache, invalidate
"""

from orderworks.cache.decorators import Cache
from orderworks.cache.invalidation import invalidate
from orderworks.cache.stats import READS, Count, cache_counts, hit_rate

__all__ = ["READS", "Cache", "Count", "cache_counts", "hit_rate", "invalidate"]
