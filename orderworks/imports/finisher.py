"""The end of an import, and the progress that is published after each of its steps."""

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import redis
import sqlalchemy as sa
import structlog

from orderworks.core.database import retry_transient
from orderworks.core.errors import ImportNotFound
from orderworks.core.redis import Redis
from orderworks.imports import ledger
from orderworks.imports.progress import COUNTS, ENDED, Summary, publish_progress

log = structlog.get_logger()


class ImportStep(NamedTuple):
    """The progress of an import, and the chunks that have to be nudged again."""

    summary: Summary
    chunks_to_nudge: list[int]


@dataclass(frozen=True)
class Finisher:
    """Finishes imports of which no chunk is pending."""

    engine: sa.Engine
    stream: Redis

    @retry_transient
    def finish(self, import_id: str) -> ImportStep:
        """Finish the import if no chunk is pending, and publish its progress.

        While Redis is unavailable an import stays unfinished, and the sweep finishes it later: so its
        end is always published to the producers that wait for it.

        Raises:
            ImportNotFound: there is no such import.
        """
        try:
            with self.engine.begin() as connection:
                advance = ledger.advance(connection, import_id)
                summary = ledger.next_summary(connection, import_id)
                publish_progress(self.stream, summary)
        except redis.RedisError:
            with self.engine.begin() as connection:
                return ImportStep(ledger.import_summary(connection, import_id), [])
        if advance.ended:
            log_finished(summary)
        if summary["parent"] and summary["status"] in ENDED:
            self._publish_parent(summary["parent"])
        return ImportStep(summary, list(advance.overtaken))

    def finish_if_running(self, import_id: str) -> None:
        """Finish an import whose last worker was killed after its chunk and before this step."""
        with self.engine.begin() as connection:
            running = ledger.is_running(connection, import_id)
        if running:
            self.finish(import_id)

    def _publish_parent(self, import_id: str) -> None:
        """Publish how many rejects of the parent are corrected by now."""
        with suppress(redis.RedisError, ImportNotFound), self.engine.begin() as connection:
            publish_progress(self.stream, ledger.next_summary(connection, import_id))


def log_finished(summary: Summary) -> None:
    """Log the end of an import, once its transaction is committed."""
    counts = {name: summary[name] for name in ("rows", *COUNTS)}
    log.info("import_finished", import_id=summary["id"], status=summary["status"], **counts)
