"""Dry runs: the same stages as in a load, on a shadow of the real table.

The shadow is a temporary table with the name of the real one, so every statement of a load applies to
it. It gets those real rows that the file has the ids of, and ends with the transaction. The real tables
are only read, and none of their rows is locked.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import customers, imports, orders
from orderworks.core.versions import version_at
from orderworks.imports.chunk_attempt import ChunkWork
from orderworks.imports.chunk_plan import FileChunk
from orderworks.imports.file_notes import (
    MixedVersions,
    RepeatedIds,
    sum_mixed,
    sum_repeated,
)
from orderworks.imports.loading.copy import as_array
from orderworks.imports.loading.load_chunk import validate_chunk, write_valid_rows
from orderworks.imports.loading.repeated_ids import find_repeated
from orderworks.imports.loading.upsert import NOT_DATA, UPDATED_AT
from orderworks.imports.loading.write_rows import TABLES, WriteResult
from orderworks.imports.manifest import Manifest
from orderworks.imports.progress import COUNTS
from orderworks.imports.spool import Spool
from orderworks.reports import impact

MAX_SHOWN = 10
"""Differences and rejects in the report."""

MIN_ROWS_FOR_RATE = 10_000
"""Rows of an import from which its rate is a measure for the next one."""

DryRunReport = dict[str, Any]
"""The effect that an import would have.

`insert`, `change`, `unchanged`, `stale`, `superseded` and `rejected` count its rows. `differences` are
the first cells that would change, each with `id`, `column`, `before` and `after`; `rejects` the first
rejected rows. `customers` counts those whose cached reads would be invalidated, `reports` names the
windows of the top-customers report that would change. `seconds` is the predicted duration.
`changed_since` counts the rows of the table that the file has and that were written since `as_of`, or
since `modified_at`, the time of the file, if no `as_of` was given; None without such a time, and if the
file's rows have versions of their own. `mixed_versions` has `rows` with counters as versions where the
table has the order of acceptance, and the `id` of one of them; without such rows, None.
"""


def dry_run(
    connection: sa.Connection,
    spool: Spool,
    manifest: Manifest,
    chunks: Iterable[FileChunk],
    depth: int,
) -> tuple[DryRunReport, RepeatedIds | None]:
    """Load the chunks into a shadow, one after the other; the report of their effect, and repeated ids.

    The caller's transaction has to be rolled back. `depth` is that of a published report.
    """
    shadow = _ShadowTable(connection, TABLES[manifest.kind])
    counts = Counter(dict.fromkeys(COUNTS, 0))
    rejects: list[dict[str, Any]] = []
    repeated: list[RepeatedIds] = []
    mixed: list[MixedVersions] = []
    began = time.monotonic()
    for chunk in chunks:
        work = _work(manifest, chunk)
        loaded, refused, again = _load_into_shadow(connection, spool, work, shadow)
        repeated += [again] if again else []
        mixed += loaded.mixed
        counts.update(loaded.counts, rejected=refused.height)
        rejects += refused.head(MAX_SHOWN - len(rejects)).to_dicts()
    rows, seconds = counts.total(), time.monotonic() - began
    if manifest.strict and counts["rejected"]:
        nothing = _nothing(counts["rejected"], rejects) | _since(manifest, shadow)
        return {**nothing, "mixed_versions": _as_member(mixed)}, sum_repeated(repeated)
    inserted = shadow.inserted()
    report = {
        "insert": inserted,
        "change": counts.pop("applied") - inserted,
        **counts,
        "differences": shadow.differences(),
        "rejects": rejects,
        "customers": shadow.customers(),
        "reports": shadow.reports(depth),
        "seconds": round(
            rows / _rows_per_second(connection, manifest, rows / max(seconds, 0.001)), 1
        ),
        **_since(manifest, shadow),
        "mixed_versions": _as_member(mixed),
    }
    return report, sum_repeated(repeated)


def _nothing(rejected: int, rejects: list[dict[str, Any]]) -> DryRunReport:
    """The report of a strict import with rejects, which changes nothing."""
    counts = dict.fromkeys(("insert", "change", "unchanged", "stale", "superseded"), 0)
    effects: DryRunReport = {"differences": [], "customers": 0, "reports": [], "seconds": 0.0}
    return {**counts, "rejected": rejected, "rejects": rejects, **effects}


def _as_member(mixed: Sequence[MixedVersions]) -> dict[str, int] | None:
    found = sum_mixed(mixed)
    return found and found._asdict()


def _since(manifest: Manifest, shadow: "_ShadowTable") -> DryRunReport:
    """The moments of the file, and the rows that were written since."""
    moments = {"as_of": manifest.as_of, "modified_at": manifest.modified_at}
    moment = manifest.as_of or manifest.modified_at
    count = None
    if moment is not None and "version" not in manifest.mapping:
        count = shadow.newer_than(version_at(moment))
    times = {name: None if at is None else at.isoformat() for name, at in moments.items()}
    return {**times, "changed_since": count}


def _work(manifest: Manifest, chunk: FileChunk) -> ChunkWork:
    return ChunkWork(
        import_id=manifest.id,
        kind=manifest.kind,
        mapping=manifest.mapping,
        format=manifest.format,
        delimiter=manifest.delimiter,
        header=manifest.header,
        bytes=manifest.bytes,
        version=manifest.version,
        accepted_at=manifest.accepted_at,
        strict=manifest.strict,
        create_customers=manifest.create_customers,
        empty=manifest.empty,
        parent=manifest.parent,
        snapshot="",
        is_recheck=False,
        chunk=chunk,
    )


def _load_into_shadow(
    connection: sa.Connection, spool: Spool, work: ChunkWork, shadow: "_ShadowTable"
) -> tuple[WriteResult, pl.DataFrame, RepeatedIds | None]:
    """Load a chunk into the shadow; the outcome of its rows, the rejects, and the repeated ids."""
    validated = validate_chunk(connection, spool, work, work.chunk)
    shadow.copy_real_rows(validated.valid["id"])
    # The shadow has no foreign key: customers that would be created need not exist.
    loaded = write_valid_rows(
        connection, work._replace(create_customers=False), validated.valid, renew=False
    )
    rejects = pl.concat([validated.rejects, *loaded.rejects]).sort("line")
    repeated = find_repeated(validated.valid, work.version)
    return loaded, validated.parsed.with_raw(rejects), repeated


def _rows_per_second(connection: sa.Connection, manifest: Manifest, own_rate: float) -> float:
    """Rows a second of the last import of this kind that was large enough, else `own_rate`."""
    spent = sa.extract("epoch", imports.c.finished_at - imports.c.planned_at)
    query = (
        sa.select(imports.c.rows / sa.func.nullif(spent, 0))
        .where(imports.c.kind == manifest.kind, imports.c.status == "done")
        .where(imports.c.rows >= MIN_ROWS_FOR_RATE)
        .order_by(imports.c.finished_at.desc())
        .limit(1)
    )
    return float(connection.scalar(query) or own_rate or 1)


class _ShadowTable:
    """A temporary table in place of a real one, and the differences between the two."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection = connection
        self._shadow = table
        self._real = table.to_metadata(sa.MetaData(), schema=self._schema(table))
        preparer = connection.dialect.identifier_preparer
        name, real = preparer.quote(table.name), preparer.format_table(self._real)
        # Core has no LIKE; with it the shadow has the defaults, checks and keys of the real table.
        connection.execute(
            sa.text(f"CREATE TEMPORARY TABLE {name} (LIKE {real} INCLUDING ALL) ON COMMIT DROP")
        )

    def _schema(self, table: sa.Table) -> str:
        """The schema of the real table."""
        query = sa.text(
            "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE pg_class.oid = to_regclass(:name)"
        )
        return str(self._connection.execute(query, {"name": table.name}).scalar_one())

    def copy_real_rows(self, ids: pl.Series) -> None:
        """Copy the real rows with these ids into the shadow, unless they are there already."""
        if ids.is_empty():
            return
        rows = sa.select(self._real).where(self._real.c.id == sa.any_(as_array(ids)))
        names = list(self._shadow.c.keys())
        copy = insert(self._shadow).from_select(names, rows).on_conflict_do_nothing()
        self._connection.execute(copy)

    def inserted(self) -> int:
        """The number of new rows."""
        query = (
            sa.select(sa.func.count()).select_from(self._joined_with_real()).where(self._is_new())
        )
        return self._connection.execute(query).scalar_one()

    def newer_than(self, version: int) -> int:
        """The number of real rows with a higher version."""
        both = self._shadow.join(self._real, self._shadow.c.id == self._real.c.id)
        newer = sa.select(sa.func.count()).select_from(both).where(self._real.c.version > version)
        return self._connection.execute(newer).scalar_one()

    def differences(self) -> list[dict[str, Any]]:
        """The first cells that changed."""
        pairs = sa.select(self._real, self._shadow).select_from(self._joined_with_real())
        changed = pairs.where(self._has_changed()).order_by(self._shadow.c.id).limit(MAX_SHOWN)
        differences = []
        for row in self._connection.execute(changed):
            before, after = row[: len(row) // 2], row[len(row) // 2 :]
            for name, old, new in zip(self._shadow.c.keys(), before, after, strict=True):
                if old != new and name not in (*NOT_DATA, UPDATED_AT):
                    differences.append(
                        {"id": row[0], "column": str(name), "before": old, "after": new}
                    )
        return differences[:MAX_SHOWN]

    def customers(self) -> int:
        """The number of customers with new or changed rows."""
        key = "customer_id" if self._shadow.name == orders.name else "id"
        touched = self._is_new() | self._has_changed()
        sides = [
            sa.select(side.c[key]).select_from(self._joined_with_real()).where(touched)
            for side in (self._real, self._shadow)
        ]
        ids = sa.union(*sides).subquery()
        query = sa.select(sa.func.count(ids.c[0]))
        return self._connection.execute(query).scalar_one()

    def reports(self, depth: int) -> list[str]:
        """The windows whose published report would change."""
        if self._shadow.name == customers.name:
            windows = impact.windows_with_customers(self._connection, self._renamed(), depth)
        else:
            windows = impact.changed_windows(self._connection, self._difference(), depth)
        return [window.value for window in windows]

    def _renamed(self) -> sa.Select[int]:
        """The customers whose name would change."""
        other = self._shadow.c.name.is_distinct_from(self._real.c.name)
        joined = sa.select(self._shadow.c.id).select_from(self._joined_with_real())
        return joined.where(self._real.c.id.is_not(None), other)

    def _difference(self) -> sa.Subquery:
        """The rows that the change log would get: signed rows of orders."""
        touched = self._is_new() | self._has_changed()
        sides = [
            sa.select(
                *side.c["customer_id", "created_at", "status", "total"],
                sa.literal(sign).label("sign"),
            )
            .select_from(self._joined_with_real())
            .where(touched, side.c.id.is_not(None))
            for side, sign in ((self._real, -1), (self._shadow, 1))
        ]
        return sa.union_all(*sides).subquery("difference")

    def _joined_with_real(self) -> sa.FromClause:
        return self._shadow.outerjoin(self._real, self._shadow.c.id == self._real.c.id)

    def _is_new(self) -> sa.ColumnElement[bool]:
        return self._real.c.id.is_(None)

    def _has_changed(self) -> sa.ColumnElement[bool]:
        pairs = zip(self._shadow.c, self._real.c, strict=True)
        differs = (
            shadow.is_distinct_from(real) for shadow, real in pairs if shadow.name not in NOT_DATA
        )
        return self._real.c.id.is_not(None) & sa.or_(*differs)
