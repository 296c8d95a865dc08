"""Files whose rows have moments as versions: the newer row wins, in any order of files."""

import io
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from orderworks.core.schema import orders
from orderworks.core.versions import version_at
from tests.support.types import LoadFile

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("people")


def order_of(engine: sa.Engine, *names: str) -> tuple[Any, ...]:
    with engine.connect() as connection:
        row = connection.execute(sa.select(*(orders.c[name] for name in names))).one()
        return tuple(row)


def test_older_export_that_is_imported_last_changes_nothing(
    engine: sa.Engine, load: LoadFile
) -> None:
    header = b"id,customer_id,total,status,updated_at\n"
    options = {"mapping": {"version": "updated_at"}}
    load(header + b"1,1,5.00,shipped,2026-11-29T08:00:00Z\n", **options)
    older = load(header + b"1,1,5.00,pending,2026-11-28 08:00:00+00:00\n", **options)
    assert older["stale"] == 1
    moment = datetime(2026, 11, 29, 8, tzinfo=UTC)
    assert order_of(engine, "status", "updated_at") == ("shipped", moment)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "polars", "pandas"])
def test_moments_of_every_format_are_versions(kind: str, engine: sa.Engine, load: LoadFile) -> None:
    frame = pl.DataFrame({"id": [1], "customer_id": [1], "total": ["5"], "changed": [NOON]})
    load(_source(frame, kind), mapping={"version": "changed"})
    assert order_of(engine, "version") == (version_at(NOON),)


def _source(frame: pl.DataFrame, kind: str) -> Any:  # noqa: ANN401 - any source of an import
    buffer = io.BytesIO()
    match kind:
        case "csv":
            return frame.write_csv().encode()
        case "jsonl":
            return frame.write_ndjson().encode()
        case "parquet":
            frame.write_parquet(buffer)
            return buffer.getvalue()
        case "pandas":
            return frame.to_pandas()
        case _:
            return frame
