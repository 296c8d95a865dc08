"""The ledger of imports: what was accepted, how it was cut, and what became of it.

Which chunk is whose to work on is in `claims`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orders.errors import ImportNotFound
from orders.imports.plan import Chunk
from orders.imports.progress import COUNTS, Summary
from orders.imports.spool import Manifest
from orders.schema import import_chunks, import_rejects, imports

REJECT = ("line", "column", "code", "reason", "raw")


def record_plan(connection: sa.Connection, manifest: Manifest, chunks: Sequence[Chunk]) -> bool:
    """Enter an import and its chunks; False, and no effect, if it is there already."""
    values = {
        **_manifest_values(manifest),
        "rows": sum(chunk.rows for chunk in chunks),
        "status": "running" if chunks else "done",
        "finished_at": None if chunks else sa.func.now(),
    }
    entered = connection.execute(insert(imports).values(values).on_conflict_do_nothing())
    if entered.rowcount and chunks:
        rows = [{"import_id": manifest.id, **chunk._asdict()} for chunk in chunks]
        connection.execute(sa.insert(import_chunks), rows)
    return bool(entered.rowcount)


def record_failure(connection: sa.Connection, manifest: Manifest, error: str) -> None:
    """Enter an import that cannot be planned, with the reason."""
    values = {
        **_manifest_values(manifest),
        "rows": 0,
        "status": "failed",
        "finished_at": sa.func.now(),
        "error": error,
    }
    connection.execute(insert(imports).values(values).on_conflict_do_nothing())


def finish_import_if_complete(connection: sa.Connection, import_id: str) -> bool:
    """Finish an import that has no pending chunk: done, or failed if one was given up.

    Run it in a transaction after the last chunk's commit: of two last chunks, the later one then
    sees both.
    """
    chunk = import_chunks.c
    of_import = sa.select(chunk.number).where(chunk.import_id == imports.c.id)
    given_up = of_import.where(chunk.status == "quarantined").exists()
    pending = of_import.where(chunk.status == "pending").exists()
    statement = (
        sa.update(imports)
        .where(imports.c.id == import_id, imports.c.status == "running", ~pending)
        .values(status=sa.case((given_up, "failed"), else_="done"), finished_at=sa.func.now())
    )
    return bool(connection.execute(statement).rowcount)


def complete_imports(connection: sa.Connection) -> list[str]:
    """Imports that nobody finished although no chunk of theirs is pending: for the sweep."""
    chunk = import_chunks.c
    pending = sa.exists().where(chunk.import_id == imports.c.id, chunk.status == "pending")
    query = sa.select(imports.c.id).where(imports.c.status == "running", ~pending)
    return list(connection.scalars(query))


def import_summary(connection: sa.Connection, import_id: str) -> Summary:
    """What is known of an import, as `progress.Summary` describes it.

    Raises:
        ImportNotFound: the ledger has no such import.
    """
    row = connection.execute(_summaries().where(imports.c.id == import_id)).one_or_none()
    if row is None:
        raise ImportNotFound(f"there is no import {import_id}")
    return _summary(row)


def list_imports(connection: sa.Connection, limit: int = 50) -> list[Summary]:
    """The summaries of the imports, the one accepted last first."""
    query = _summaries().order_by(imports.c.accepted_at.desc(), imports.c.id.desc()).limit(limit)
    return [_summary(row) for row in connection.execute(query)]


def count_by_status(connection: sa.Connection) -> dict[str, int]:
    """How many imports there are of each status that any has."""
    status = imports.c.status
    query = sa.select(status, sa.func.count()).group_by(status).order_by(status)
    return dict(iter(connection.execute(query)))


def iter_rejects(connection: sa.Connection, import_id: str) -> Iterator[dict[str, Any]]:
    """The rejects in the order of their lines: `line`, `column`, `code`, `reason`, `raw`.

    `column` is empty where the row as a whole is at fault. Streamed from the server: keep the
    connection open until the last one.
    """
    query = (
        sa.select(*import_rejects.c[REJECT])
        .where(import_rejects.c.import_id == import_id)
        .order_by(import_rejects.c.line)
        .execution_options(yield_per=1000)
    )
    for row in connection.execute(query).mappings():
        yield dict(row)


def _manifest_values(manifest: Manifest) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(manifest).items() if name in imports.c
    }


def _summaries() -> sa.Select[Any]:
    """Imports with the sums over their chunks."""
    chunk = import_chunks.c
    sums = [sa.func.coalesce(sa.func.sum(chunk[name]), 0).label(name) for name in COUNTS]
    of_status = [
        sa.func.count(chunk.number).filter(chunk.status == status).label(name)
        for name, status in (("chunks_done", "done"), ("quarantined", "quarantined"))
    ]
    # A chunk that was given up says why; the first one speaks for the import.
    given_up = chunk.status == "quarantined"
    error = sa.func.coalesce(imports.c.error, sa.func.min(chunk.error).filter(given_up))
    return (
        sa.select(
            *imports.c["id", "kind", "source", "status", "bytes", "rows"],
            *sums,
            sa.func.count(chunk.number).label("chunks"),
            *of_status,
            *imports.c["accepted_at", "finished_at"],
            error.label("error"),
        )
        .select_from(imports.outerjoin(import_chunks))
        .group_by(imports.c.id)
    )


def _summary(row: sa.Row[Any]) -> Summary:
    return {name: _plain(value) for name, value in row._mapping.items()}  # noqa: SLF001 - public


def _plain(value: object) -> object:
    """The value as JSON has it. PostgreSQL's sums are decimals."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str) else int(str(value))
