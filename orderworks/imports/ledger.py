"""The ledger of imports: accepted options, chunks, and the outcome of each.

Claims of chunks are in `chunk_attempt`.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.errors import ImportFailed, ImportNotFound
from orderworks.core.schema import import_chunks, import_rejects, imports
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.file_notes import describe_columns
from orderworks.imports.manifest import Manifest
from orderworks.imports.pending_chunks import reopen_overtaken
from orderworks.imports.progress import COUNTS, Summary
from orderworks.imports.reject_limit import limit_of

ImportCursor = tuple[datetime, str]
"""The position of an import in the list: `accepted_at` and id."""


class Advance(NamedTuple):
    """The effect of `advance` on an import.

    Attributes:
        ended: whether it ended by this call.
        overtaken: its chunks that are pending again, to be rechecked.
    """

    ended: bool
    overtaken: Sequence[int] = ()


def with_parent_version(connection: sa.Connection, manifest: Manifest) -> Manifest:
    """The manifest; with the parent's version, if it contains corrected rejects of a parent.

    Raises:
        ImportFailed: there is no such parent, or it is of another kind, or has a parent itself.
    """
    if manifest.parent is None:
        return manifest
    parent = sa.select(imports.c.kind, imports.c.version, imports.c.parent).where(
        imports.c.id == manifest.parent
    )
    row = connection.execute(parent).one_or_none()
    if row is None:
        raise ImportFailed(f"there is no import {manifest.parent} whose rejects could be corrected")
    if row.kind != manifest.kind:
        raise ImportFailed(f"import {manifest.parent} is of {row.kind}, not of {manifest.kind}")
    if row.parent is not None:
        raise ImportFailed(
            f"import {manifest.parent} is a correction of import {row.parent} itself: "
            f"correct the rejects of import {row.parent}"
        )
    return msgspec.structs.replace(manifest, version=row.version)


def record_plan(connection: sa.Connection, manifest: Manifest, chunks: Sequence[FileChunk]) -> bool:
    """Enter an import and its chunks; False, and no effect, if it is there already.

    Raises:
        ImportFailed: a name in it has a character that the ledger cannot keep.
    """
    if _without_nuls(manifest) != manifest:
        raise ImportFailed("the name of the file or of a column has a NUL in it")
    rows = sum(chunk.rows for chunk in chunks)
    values = {
        **_manifest_values(manifest, rows),
        **_now_planned(),
        "rows": rows,
        "status": "running" if chunks else "done",
        "finished_at": None if chunks else sa.func.clock_timestamp(),
    }
    entered = connection.execute(insert(imports).values(values).on_conflict_do_nothing())
    if entered.rowcount and chunks:
        entries = [{"import_id": manifest.id, **chunk._asdict()} for chunk in chunks]
        connection.execute(sa.insert(import_chunks), entries)
    return bool(entered.rowcount)


def record_failure(connection: sa.Connection, manifest: Manifest, error: str) -> None:
    """Enter an import that cannot be planned, with the reason."""
    values = {
        **_manifest_values(_without_nuls(manifest), 0),
        **_now_planned(),
        "rows": 0,
        "status": "failed",
        "finished_at": sa.func.clock_timestamp(),
        "error": error,
    }
    connection.execute(insert(imports).values(values).on_conflict_do_nothing())


def _now_planned() -> dict[str, sa.Function[datetime]]:
    """The times of a plan that ends now: its transaction began before the file was read."""
    return dict.fromkeys(("planned_at", "nudged_at"), sa.func.clock_timestamp())


def advance(connection: sa.Connection, import_id: str) -> Advance:
    """Take a running import as far as its chunks allow.

    It is stopped when too many rows are rejected, and finished when no chunk is pending: done, or failed
    if a chunk was given up, if every row was rejected, or if it is strict and one was. The import's row
    is locked first, in a transaction after the chunk's: so of two last chunks, the later one sees both.
    """
    connection.execute(sa.select(imports.c.id).where(imports.c.id == import_id).with_for_update())
    if _stop_if_over(connection, import_id):
        return Advance(ended=True)
    chunk = import_chunks.c
    of_import = sa.select(chunk.number).where(chunk.import_id == imports.c.id)
    pending = of_import.where(chunk.status == "pending").exists()
    complete = (imports.c.id == import_id, imports.c.status == "running", ~pending)
    if connection.scalar(sa.select(imports.c.id).where(*complete)) is None:
        return Advance(ended=False)
    overtaken = reopen_overtaken(connection, import_id)
    if overtaken:
        return Advance(ended=False, overtaken=overtaken)
    connection.execute(_finish().where(*complete))
    return Advance(ended=True)


def _finish() -> sa.Update:
    chunk = import_chunks.c
    of_import = sa.select(chunk.number).where(chunk.import_id == imports.c.id)
    given_up = of_import.where(chunk.status == "quarantined").exists()
    impure = imports.c.strict & of_import.where(chunk.rejected > 0).exists()
    impure |= (imports.c.rows > 0) & (_total("rejected") == imports.c.rows)
    none = sa.func.concat(
        _total("rejected"), " of ", imports.c.rows, " rows were rejected: none was imported"
    )
    return sa.update(imports).values(
        status=sa.case((given_up | impure, "failed"), else_="done"),
        error=sa.case((impure, none)),
        # The transaction may have begun when the import did: all of a strict one is in it.
        finished_at=sa.func.clock_timestamp(),
    )


def _stop_if_over(connection: sa.Connection, import_id: str) -> bool:
    """End an import that has more rejects than it may have; whether it had. What is loaded stays."""
    rejected = _total("rejected")
    # The message has no count: chunks that are being loaded may still add to it.
    limit = imports.c.max_rejects
    reason = sa.func.concat("more than ", limit, " rows were rejected: the rest was not loaded")
    statement = (
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.status == "running")
        .where(rejected > imports.c.max_rejects)
        .values(status="failed", error=reason, finished_at=sa.func.now())
    )
    return bool(connection.execute(statement).rowcount)


def _total(count: str) -> sa.ScalarSelect[int]:
    """One of the counts, over the chunks of the import."""
    chunk = import_chunks.c
    total = sa.select(sa.func.coalesce(sa.func.sum(chunk[count]), 0))
    return total.where(chunk.import_id == imports.c.id).correlate(imports).scalar_subquery()


def is_running(connection: sa.Connection, import_id: str) -> bool:
    """Return whether an import is neither paused nor ended.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    status = connection.scalar(sa.select(imports.c.status).where(imports.c.id == import_id))
    if status is None:
        raise ImportNotFound(f"there is no import {import_id}")
    return bool(status == "running")


def unfinished_complete_imports(connection: sa.Connection) -> list[str]:
    """Running imports without a pending chunk, for the sweep to finish."""
    chunk = import_chunks.c
    pending = sa.exists().where(chunk.import_id == imports.c.id, chunk.status == "pending")
    query = sa.select(imports.c.id).where(imports.c.status == "running", ~pending)
    return list(connection.scalars(query))


def import_summary(connection: sa.Connection, import_id: str) -> Summary:
    """The summary of an import, as `progress.Summary` describes it.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    row = connection.execute(_summaries().where(imports.c.id == import_id)).one_or_none()
    if row is None:
        raise ImportNotFound(f"there is no import {import_id}")
    return _summary(row)


def next_summary(connection: sa.Connection, import_id: str) -> Summary:
    """The same, counted as one more step of the import, to be published.

    The import's row stays locked until the transaction ends. So of two transactions, the one with the
    higher count sees the effects of the other.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    counted = sa.update(imports).where(imports.c.id == import_id)
    connection.execute(counted.values(steps=imports.c.steps + 1))
    return import_summary(connection, import_id)


def list_imports(
    connection: sa.Connection,
    limit: int = 50,
    before: ImportCursor | None = None,
    *,
    status: str | None = None,
    kind: str | None = None,
) -> list[Summary]:
    """The summaries of the imports, the one accepted last first; only of a status and kind, if given.

    `before` is `(accepted_at, id)` of the last import of the page before.
    """
    query = _summaries()
    for column, value in ((imports.c.status, status), (imports.c.kind, kind)):
        if value is not None:
            query = query.where(column == value)
    return _listed(connection, _page(query, before).limit(limit))


def list_active(connection: sa.Connection, limit: int) -> list[Summary]:
    """The summaries of running and paused imports, the one accepted last first."""
    unended = _summaries().where(imports.c.status.in_(("running", "paused")))
    return _listed(connection, _page(unended, None).limit(limit))


def _page(query: sa.Select[Any], before: ImportCursor | None) -> sa.Select[Any]:
    cursor = sa.tuple_(imports.c.accepted_at, imports.c.id)
    if before:
        query = query.where(cursor < sa.tuple_(*before))
    return query.order_by(imports.c.accepted_at.desc(), imports.c.id.desc())


def _listed(connection: sa.Connection, query: sa.Select[Any]) -> list[Summary]:
    return [_summary(row) for row in connection.execute(query)]


def count_by_status(connection: sa.Connection) -> dict[str, int]:
    """The number of imports by status."""
    status = imports.c.status
    query = sa.select(status, sa.func.count()).group_by(status).order_by(status)
    return dict(iter(connection.execute(query)))


def _without_nuls(manifest: Manifest) -> Manifest:
    """The manifest without NULs, which PostgreSQL refuses in every text."""
    return msgspec.structs.replace(
        manifest,
        source=manifest.source.replace("\0", ""),
        mapping={name: source.replace("\0", "") for name, source in manifest.mapping.items()},
        header=[name.replace("\0", "") for name in manifest.header],
        parent=manifest.parent and manifest.parent.replace("\0", ""),
    )


def _manifest_values(manifest: Manifest, rows: int) -> dict[str, Any]:
    """The columns that a manifest has; of a share of rejects the number for a file of these rows."""
    values = {
        **msgspec.structs.asdict(manifest),
        "max_rejects": limit_of(manifest.max_rejects, rows),
    }
    return {name: value for name, value in values.items() if name in imports.c}


def _summaries() -> sa.Select[Any]:
    """Imports with the sums over their chunks, and the `seconds` since they were planned."""
    chunk = import_chunks.c
    sums = [sa.func.coalesce(sa.func.sum(chunk[name]), 0).label(name) for name in COUNTS]
    of_status = [
        sa.func.count(chunk.number).filter(chunk.status == status).label(name)
        for name, status in (("chunks_done", "done"), ("quarantined", "quarantined"))
    ]
    # The error of a quarantined chunk is that of its import.
    given_up = chunk.status == "quarantined"
    error = sa.func.coalesce(imports.c.error, sa.func.min(chunk.error).filter(given_up))
    until = sa.func.coalesce(imports.c.finished_at, sa.func.clock_timestamp())
    return (
        sa.select(
            *imports.c["id", "kind", "source", "mapping", "strict", "parent", "status", "steps"],
            *imports.c["max_rejects", "create_customers", "bytes", "rows", "header"],
            _bytes_done().label("bytes_done"),
            *sums,
            _corrected_count().label("mended"),
            sa.func.count(chunk.number).label("chunks"),
            *of_status,
            *imports.c["accepted_at", "finished_at"],
            error.label("error"),
            sa.extract("epoch", until - imports.c.planned_at).label("seconds"),
        )
        .select_from(imports.outerjoin(import_chunks))
        .group_by(imports.c.id)
    )


def _bytes_done() -> sa.ColumnElement[int]:
    """The bytes of the chunks that ended; with the last one, those of the header too."""
    chunk = import_chunks.c
    ended = sa.func.sum(chunk.end_byte - chunk.start_byte).filter(chunk.status != "pending")
    pending = sa.func.count(chunk.number).filter(chunk.status == "pending")
    return sa.case((pending == 0, imports.c.bytes), else_=sa.func.coalesce(ended, 0))


def _corrected_count() -> sa.ColumnElement[int]:
    """The number of rejects that another import corrected. Counted only if there is such an import."""
    child, reject = imports.alias("child"), import_rejects.c
    mended = sa.select(sa.func.count()).where(
        reject.import_id == imports.c.id, reject.mended_by.is_not(None)
    )
    has_child = sa.exists().where(child.c.parent == imports.c.id)
    return sa.case((has_child, mended.scalar_subquery()), else_=0)


def _summary(row: sa.Row[Any]) -> Summary:
    summary = {name: _plain(value) for name, value in row._mapping.items()}  # noqa: SLF001 - public
    seconds, header = summary.pop("seconds"), summary.pop("header")
    columns = describe_columns(summary["kind"], header, summary["mapping"], summary["parent"])
    return {**summary, **columns, "dry_run": False, **_progress_rate(summary, float(seconds))}


def _progress_rate(summary: Summary, seconds: float) -> Summary:
    """The rate of an import, and its remaining rows and seconds."""
    done = sum(summary[name] for name in COUNTS)
    left = summary["rows"] - done
    rate = done / max(seconds, 0.001)
    going_on = summary["status"] == "running" and done
    return {
        "rows_left": left,
        "rows_per_second": round(rate, 1) if done else None,
        "eta_seconds": round(left / rate, 1) if going_on else None,
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any column's
    """The value as JSON has it. PostgreSQL's sums are decimals."""
    if isinstance(value, datetime):
        return value.isoformat()
    return int(value) if isinstance(value, Decimal) else value
