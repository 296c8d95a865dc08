"""Files as of a moment: what was written since is newer than their rows."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.errors import InvalidInput
from orderworks.core.schema import orders
from orderworks.core.versions import version_at
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary, read_progress
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from producer.imports.accept import accept_import, accept_kept_file
from producer.imports.options import ImportOptions
from tests.support.types import AcceptFile, DrainAll, LoadFile

DUMP = b"id,customer_id,total,status\n1,1,10,pending\n2,1,20,pending\n3,1,30,pending\n"
PAID = DUMP.replace(b"1,1,10,pending", b"1,1,10,paid")

pytestmark = pytest.mark.usefixtures("people")


def ago(**span: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**span)


def statuses(engine: sa.Engine) -> dict[int, str]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(orders.c.id, orders.c.status))
        return {row.id: row.status for row in rows}


def rehearse(importer: Importer, import_id: str) -> dict[str, Any]:
    assert importer.plan(import_id) == []
    summary: Summary | None = read_progress(importer.stream, import_id)
    assert summary
    would: dict[str, Any] = summary["would"]
    return would


def test_dump_as_of_a_moment_keeps_what_was_written_since(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(DUMP, as_of=ago(hours=3))
    load(PAID)
    assert load(DUMP, as_of=ago(hours=1))["stale"] == 1
    assert statuses(engine)[1] == "paid"
    assert load(DUMP)["applied"] == 1
    assert statuses(engine)[1] == "pending"


def test_rows_as_of_a_moment_replace_what_is_older(engine: sa.Engine, load: LoadFile) -> None:
    load(DUMP, as_of=ago(hours=2))
    assert load(PAID, as_of=ago(hours=1))["applied"] == 1
    assert statuses(engine)[1] == "paid"


def test_equal_rows_as_of_a_moment_get_its_version(engine: sa.Engine, load: LoadFile) -> None:
    """An update of a moment between the two may wait in any queue."""
    load(DUMP, as_of=ago(hours=3))
    moment = ago(hours=1)
    assert load(DUMP, as_of=moment)["unchanged"] == 3
    with engine.connect() as connection:
        lowest = connection.scalar(sa.select(sa.func.min(orders.c.version)))
    assert lowest is not None
    assert lowest > version_at(moment)


def test_corrected_rows_have_the_moment_of_their_parent(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    parent = accept(DUMP.replace(b",10,", b",x,"), as_of=ago(hours=1))
    for number in importer.plan(parent):
        importer.load_chunk(parent, number)
    load(PAID)
    sheet = b"id,customer_id,total,status,line\n1,1,10,pending,2\n"
    load(sheet, parent=parent)
    assert statuses(engine)[1] == "paid"


def test_kept_file_of_a_dry_run_is_imported_as_of_its_moment(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(PAID)
    import_id = accept(DUMP, dry_run=True, keep=True, as_of=ago(hours=1))
    rehearse(importer, import_id)
    accept_kept_file(import_id, again=True, spool=importer.spool, stream=importer.stream)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    assert statuses(engine)[1] == "paid"


def test_dry_run_counts_the_orders_changed_since_the_file_was_written(
    load: LoadFile, accept: AcceptFile, importer: Importer, tmp_path: Path
) -> None:
    load(DUMP, as_of=ago(hours=3))
    load(PAID)
    file, written = tmp_path / "dump.csv", ago(hours=1)
    file.write_bytes(DUMP)
    os.utime(file, (written.timestamp(), written.timestamp()))
    would = rehearse(importer, accept(file, dry_run=True))
    assert (would["modified_at"], would["as_of"]) == (written.isoformat(), None)
    assert (would["changed_since"], would["change"]) == (1, 1)
    kept = rehearse(importer, accept(file, dry_run=True, as_of=datetime.now(UTC)))
    assert kept["changed_since"] == 0


def test_dry_run_with_a_moment_counts_what_stays(
    load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(b"id,customer_id,total,status\n1,1,10,paid\n9,1,10,paid\n")
    moment = ago(hours=1)
    would = rehearse(importer, accept(DUMP, dry_run=True, as_of=moment))
    assert (would["as_of"], would["modified_at"]) == (moment.isoformat(), None)
    assert (would["changed_since"], would["stale"], would["insert"]) == (1, 1, 2)


def test_dry_run_of_a_file_with_versions_counts_none(
    load: LoadFile, accept: AcceptFile, importer: Importer, tmp_path: Path
) -> None:
    load(PAID)
    file = tmp_path / "dump.csv"
    file.write_bytes(b"id,customer_id,total,version\n1,1,10,2026-11-26\n")
    os.utime(file, (1, 1))
    assert rehearse(importer, accept(file, dry_run=True))["changed_since"] is None


def test_updates_before_the_moment_are_older_than_the_file_and_others_newer(
    engine: sa.Engine, load: LoadFile, updates: UpdateStream, drain: DrainAll
) -> None:
    moment = ago(hours=1)
    load(DUMP, as_of=moment - timedelta(hours=1))
    for order_id, minutes in ((2, 1), (3, -1)):
        at = moment + timedelta(minutes=minutes)
        update = OrderUpdate(order_id=order_id, status="sent", version=at)
        updates.append(order_id % 2, [update.encode()])
    drain()
    assert statuses(engine) == {1: "pending", 2: "sent", 3: "sent"}
    load(DUMP, as_of=moment)
    assert statuses(engine) == {1: "pending", 2: "sent", 3: "pending"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"as_of": datetime(2026, 11, 1)}, "as_of: .* has no time zone"),  # noqa: DTZ001 - that
        ({"as_of": datetime(1969, 1, 1, tzinfo=UTC)}, "as_of: .* is not between 1970-01-01"),
        ({"as_of": ago(hours=-1)}, "as_of: .* is in the future"),
        ({"as_of": ago(hours=1), "parent": "x"}, "parent and as_of: "),
    ],
)
def test_moment_that_cannot_be_that_of_the_file_is_refused(
    options: dict[str, Any], reason: str, accept: AcceptFile
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        accept(DUMP, **options)


def test_same_content_as_of_another_moment_is_another_import(importer: Importer) -> None:
    def submit(as_of: datetime | None) -> str:
        services = {"spool": importer.spool, "stream": importer.stream}
        options = ImportOptions(as_of=as_of)
        return accept_import(DUMP, options, settings=importer.settings, **services).id  # type: ignore[arg-type]

    moment = ago(hours=1)
    first, plain = submit(moment), submit(None)
    berlin = moment.astimezone()
    assert submit(berlin) == first
    assert submit(None) == plain
    assert len({first, plain, submit(ago(hours=2))}) == 3
