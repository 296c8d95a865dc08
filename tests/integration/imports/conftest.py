"""Fixtures of tests of imports: accept a file, load it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.schema import customers
from orderworks.imports import ledger
from orderworks.imports.columns import ImportKind
from orderworks.imports.importer import Importer
from orderworks.imports.progress import COUNTS, Summary
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions
from producer.imports.sources.open_source import ImportSource
from tests.support.imports import SEVEN
from tests.support.types import AcceptFile, LoadFile


@pytest.fixture
def accept(importer: Importer) -> AcceptFile:
    """Accept a file as a producer does; its id."""

    def run(
        source: ImportSource,
        kind: ImportKind = "orders",
        **options: Any,  # noqa: ANN401 - those of `ImportOptions`
    ) -> str:
        # Tests import the same content twice on purpose.
        asked = ImportOptions(**{"kind": kind, "again": True, **options})
        job = accept_import(
            source,
            asked,
            spool=importer.spool,
            stream=importer.stream,
            settings=importer.settings,
        )
        return job.id

    return run


@pytest.fixture
def load(importer: Importer, accept: AcceptFile) -> LoadFile:
    """Accept a file and load all of it; its summary, whose counts add up."""

    def run(
        source: ImportSource,
        kind: ImportKind = "orders",
        order: Callable[[list[int]], Iterable[int]] = iter,
        **how: Any,  # noqa: ANN401 - passed on
    ) -> Summary:
        import_id = accept(source, kind, **how)
        waiting = list(order(importer.plan(import_id)))
        for number in waiting:
            step = importer.load_chunk(import_id, number)
            waiting += step.chunks_to_nudge if step else []
        with importer.engine.connect() as connection:
            summary = ledger.import_summary(connection, import_id)
        all_rejected = 0 < summary["rejected"] == summary["rows"]
        assert summary["status"] == ("failed" if all_rejected else "done")
        assert summary["rows"] == sum(summary[name] for name in COUNTS)
        return summary

    return run


@pytest.fixture
def people(engine: sa.Engine) -> None:
    """Customers 1 to 9."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(customers),
            [{"id": each, "name": f"Customer {each}"} for each in range(1, 10)],
        )


@pytest.fixture
def planned(importer: Importer, accept: AcceptFile) -> str:
    """A running import of seven customers in three chunks, none loaded; its id."""
    import_id = accept(SEVEN, "customers")
    assert importer.plan(import_id) == [0, 1, 2]
    return import_id
