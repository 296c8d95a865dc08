"""The steps of an import in the workers: it is planned once, each chunk loaded once, finished once.

Every step may be started twice, by two workers at a time, or after a worker that was killed in it.
"""

from contextlib import suppress
from dataclasses import dataclass, field

import redis
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports.chunk_loader import ChunkLoader
from orderworks.imports.finisher import Finisher, ImportStep
from orderworks.imports.planner import Planner
from orderworks.imports.spool import Spool
from orderworks.imports.yielding import Yielding
from orderworks.updates.stream import UpdateStream


@dataclass(frozen=True)
class Importer:
    """The steps of imports, and what they share. One per worker process, made after the fork."""

    engine: sa.Engine
    spool: Spool
    stream: Redis
    cache: Redis
    settings: Settings
    _yielding: Yielding = field(default_factory=Yielding, init=False)

    def plan(self, import_id: str) -> list[int]:
        """Plan an import; the chunks to load. See `Planner.plan`."""
        return Planner(self.engine, self.spool, self.stream, self.settings).plan(import_id)

    def load_chunk(self, import_id: str, number: int) -> ImportStep | None:
        """Load a chunk; the import's progress. See `ChunkLoader.load`."""
        return self._chunk_loader.load(import_id, number)

    def must_yield(self) -> bool:
        """Return whether chunks should yield to updates. See `Yielding`.

        Not while Redis is unavailable: then no update is drained either.
        """
        settings = self.settings
        updates = UpdateStream(self.stream, settings.update_shards, settings.stream_limit)
        with suppress(redis.RedisError):
            return self._yielding.must_yield(updates, settings.import_yield_lag)
        return False

    def finish(self, import_id: str) -> ImportStep:
        """Finish an import if no chunk is pending; its progress. See `Finisher.finish`."""
        return Finisher(self.engine, self.stream).finish(import_id)

    @property
    def _chunk_loader(self) -> ChunkLoader:
        return ChunkLoader(self.engine, self.spool, self.stream, self.cache, self.settings)
