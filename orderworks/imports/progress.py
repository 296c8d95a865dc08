"""The progress of an import, mirrored in Redis for producers that cannot reach the database."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from orderworks.core.keys import import_progress
from orderworks.core.redis import Redis, publish_if_newer, read_published
from orderworks.imports.file_notes import (
    MixedVersions,
    RepeatedIds,
    describe_columns,
    with_mixed,
    with_notes,
    with_repeated,
)
from orderworks.imports.manifest import Manifest
from orderworks.imports.reject_limit import limit_of

PROGRESS_TTL = int(timedelta(days=7).total_seconds())

Summary = dict[str, Any]
"""The state of an import, by name. Times are ISO 8601 texts or None.

From its manifest: `id`, `kind`, `source`, `mapping` (target to source column), `strict`, `max_rejects`,
`create_customers`, `dry_run`, `parent` (the import whose rejected rows it has, corrected, or None) and
`bytes`. `max_rejects` is a number once the rows are counted, also if a share was given.
`ignored_columns` are the columns of the file that fill none of the table. `notes` are sentences about
the file, such as that an ignored column may be meant for another one. `repeated_ids` has the number of
`ids` on several lines with other values, the first `id` and two of its `lines`; None without such ids.
`status` is accepted, running, paused, done, failed or cancelled; `error` is the reason of a failure.
`rows` is a number once the rows are counted, and None before. `applied`, `unchanged`, `stale`,
`superseded` and `rejected` count the rows that are done, `rows_left` the others; `mended` counts
rejected rows that were corrected and imported since.
`bytes_done`, `chunks`, `chunks_done` and `quarantined` are its progress; `rows_per_second` and
`eta_seconds` are numbers while a rate is known, else None.
`accepted_at` and `finished_at` are times. `steps` increases with every published summary.
A dry run that is done also has `would`: the results that the import would have.
"""

_SUMMARY_MEMBERS = {"id", "status", "steps", "dry_run"}
"""Members that the code reads of a summary."""

ENDED = ("done", "failed", "cancelled")
"""Statuses after which an import does not change, unless it is retried."""

COUNTS = ("applied", "unchanged", "stale", "superseded", "rejected")


def accepted_summary(manifest: Manifest) -> Summary:
    """Return the summary of an import that is not planned yet."""
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
        **describe_columns(manifest.kind, manifest.header, manifest.mapping, manifest.parent),
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
    manifest: Manifest,
    report: dict[str, Any] | None,
    error: str | None = None,
    rows: int = 0,
    repeated: RepeatedIds | None = None,
) -> Summary:
    """Return the summary of a dry run that ended, with its report, or with the error if it failed.

    `rows` is the number of rows in the file.
    """
    counts = {} if report is None else {name: report[name] for name in COUNTS if name in report}
    applied = 0 if report is None else report["insert"] + report["change"]
    mixed = (
        MixedVersions(**report["mixed_versions"]) if report and report["mixed_versions"] else None
    )
    return {
        **with_mixed(with_repeated(accepted_summary(manifest), repeated), mixed),
        "max_rejects": limit_of(manifest.max_rejects, rows),
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
    """Publish the summary and the file's notes, unless the published one has the same or more steps.

    Raises:
        redis.RedisError: the summary may not be published.
    """
    body = msgspec.json.encode(with_notes(stream, summary))
    publish_if_newer(
        stream, import_progress(summary["id"]), summary["steps"], body, ttl=PROGRESS_TTL
    )


def publish_set_aside(stream: Redis, import_id: str, reason: str) -> None:
    """Publish that an accepted import failed because its manifest was set aside.

    It continues the summary that its producer published; without one, no producer waits for it.

    Raises:
        redis.RedisError: it may not be published.
    """
    accepted = read_progress(stream, import_id)
    if accepted:
        steps = accepted["steps"] + 1
        ended = {"status": "failed", "error": reason, "finished_at": datetime.now(UTC).isoformat()}
        publish_progress(stream, {**accepted, **ended, "steps": steps})


def read_progress(stream: Redis, import_id: str) -> Summary | None:
    """Return the published summary, or None; it is published for a week.

    None too if the published one is damaged: the next step of the import replaces it.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    body = read_published(stream, import_progress(import_id))
    with suppress(ValueError):
        summary = None if body is None else msgspec.json.decode(body, type=Summary)
        return summary if summary and summary.keys() >= _SUMMARY_MEMBERS else None
    return None
