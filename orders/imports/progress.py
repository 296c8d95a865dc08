"""How far an import is, mirrored in Redis for producers that cannot reach the database."""

from datetime import timedelta
from typing import Any

import msgspec

from orders.imports.spool import Manifest
from orders.names import import_progress
from orders.redis import Redis, publish_if_newer, read_published

KEPT = int(timedelta(days=7).total_seconds())

Summary = dict[str, Any]
"""`id`, `kind`, `source`, `status` (accepted, running, done, failed), `bytes`, `rows` (None until
counted), `applied`, `unchanged`, `stale`, `superseded`, `rejected`, `chunks`, `chunks_done`,
`quarantined`, `accepted_at`, `finished_at` and `error`. Times are ISO 8601 texts or None."""

COUNTS = ("applied", "unchanged", "stale", "superseded", "rejected")


def accepted_summary(manifest: Manifest) -> Summary:
    """The summary of an import that nobody has planned yet."""
    return {
        "id": manifest.id,
        "kind": manifest.kind,
        "source": manifest.source,
        "status": "accepted",
        "bytes": manifest.bytes,
        "rows": None,
        **dict.fromkeys(COUNTS, 0),
        "chunks": 0,
        "chunks_done": 0,
        "quarantined": 0,
        "accepted_at": manifest.accepted_at.isoformat(),
        "finished_at": None,
        "error": None,
    }


def mirror(stream: Redis, summary: Summary) -> None:
    """Publish the summary unless the one there is as far or farther.

    Raises:
        redis.RedisError: the mirror may be behind.
    """
    body = msgspec.json.encode(summary)
    publish_if_newer(stream, import_progress(summary["id"]), _fence(summary), body, ttl=KEPT)


def read_progress(stream: Redis, import_id: str) -> Summary | None:
    """The mirrored summary; None if there is none, or it is older than a week.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    body = read_published(stream, import_progress(import_id))
    return None if body is None else msgspec.json.decode(body, type=Summary)


def _fence(summary: Summary) -> int:
    """Grows with every step of an import: accepted, planned, each chunk, finished."""
    if summary["status"] == "accepted":
        return 0
    ended: int = summary["chunks_done"] + summary["quarantined"]
    return 1 + ended + int(summary["status"] != "running")
