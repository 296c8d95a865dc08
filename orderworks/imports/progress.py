"""How far an import is, mirrored in Redis for producers that cannot reach the database."""

from datetime import timedelta
from typing import Any

import msgspec

from orderworks.core.keys import import_progress
from orderworks.core.redis import Redis, publish_if_newer, read_published
from orderworks.imports.manifest import Manifest

PROGRESS_TTL = int(timedelta(days=7).total_seconds())

Summary = dict[str, Any]
"""What is known of an import. Times are ISO 8601 texts or None.

`id`, `kind`, `source`, `mapping` (target to source column), `strict`, `max_rejects`,
`create_customers`, `dry_run`, `parent` (the import whose rejects it brings, mended, or None) and
`bytes` are what was accepted.
`status` is accepted, running, paused, done, failed or cancelled; `error` says why it failed.
`rows` is None until they are counted; `applied`, `unchanged`, `stale`, `superseded` and `rejected` say
what became of those that are done, `rows_left` is the rest; `mended` of the rejected ones came again.
`bytes_done`, `chunks`, `chunks_done` and `quarantined` say how far it is; `rows_per_second` and
`eta_seconds` are None where there is nothing to tell from.
`accepted_at` and `finished_at` are times. `steps` grows with everything that is told of it.
A dry run that is done also has `would`: what would have become of the rows. One that failed has none.
"""

ENDED = ("done", "failed", "cancelled")
"""The statuses that an import keeps."""

COUNTS = ("applied", "unchanged", "stale", "superseded", "rejected")


def accepted_summary(manifest: Manifest) -> Summary:
    """The summary of an import that nobody has planned yet."""
    return {
        "id": manifest.id,
        "kind": manifest.kind,
        "source": manifest.source,
        "mapping": manifest.mapping,
        "strict": manifest.strict,
        "max_rejects": manifest.max_rejects,
        "create_customers": manifest.create_customers,
        "dry_run": manifest.dry_run,
        "parent": manifest.parent,
        "status": "accepted",
        "steps": 0,
        "bytes": manifest.bytes,
        "bytes_done": 0,
        "rows": None,
        **dict.fromkeys(COUNTS, 0),
        "rows_left": None,
        "mended": 0,
        "chunks": 0,
        "chunks_done": 0,
        "quarantined": 0,
        "rows_per_second": None,
        "eta_seconds": None,
        "accepted_at": manifest.accepted_at.isoformat(),
        "finished_at": None,
        "error": None,
    }


def dry_run_summary(
    manifest: Manifest, report: dict[str, Any] | None, error: str | None = None, rows: int = 0
) -> Summary:
    """The summary of a dry run that ended: with what the import would do, or with why it cannot.

    `rows` is how many the file has.
    """
    counts = {} if report is None else {name: report[name] for name in COUNTS if name in report}
    applied = 0 if report is None else report["insert"] + report["change"]
    return {
        **accepted_summary(manifest),
        "status": "failed" if report is None else "done",
        "steps": 1,
        "rows": rows,
        "rows_left": rows - applied - sum(counts.values()),
        "bytes_done": manifest.bytes,
        "applied": applied,
        **counts,
        "error": error,
        **({} if report is None else {"would": report}),
    }


def publish_progress(stream: Redis, summary: Summary) -> None:
    """Publish the summary unless the one there is as far or farther.

    Raises:
        redis.RedisError: the mirror may be behind.
    """
    body = msgspec.json.encode(summary)
    publish_if_newer(
        stream, import_progress(summary["id"]), summary["steps"], body, ttl=PROGRESS_TTL
    )


def read_progress(stream: Redis, import_id: str) -> Summary | None:
    """The mirrored summary; None if there is none, or it is older than a week.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    body = read_published(stream, import_progress(import_id))
    return None if body is None else msgspec.json.decode(body, type=Summary)
