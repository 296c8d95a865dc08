"""A dry run predicts the effect of the import, and changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderworks import cache as cached
from orderworks.core.errors import DataMissing, WrongState
from orderworks.core.schema import customers, metadata, orders
from orderworks.imports.importer import Importer
from orderworks.imports.progress import COUNTS, Summary, read_progress
from orderworks.imports.spool import Spool
from orderworks.reports.refresh import refresh
from orderworks.reports.windows import Window
from producer.imports.accept import accept_kept_file
from producer.imports.job import ImportJob
from tests.support.types import AcceptFile, LoadFile

Confirm = Callable[..., ImportJob]

KNOWN = b"id,customer_id,total,status\n1,1,10,new\n2,2,20,new\n3,3,30,new\n"
FILE = (
    b"id,customer_id,total,status\n"
    b"1,1,10,new\n"  # equal
    b"2,2,25,paid\n"  # changed
    b"3,4,30,new\n"  # moved to another customer
    b"7,5,70,new\n"  # new
    b"7,5,71,new\n"  # new again, in the same chunk
    b"8,99,1,new\n"  # of no customer
    b"x,1,1,new\n"
)

pytestmark = pytest.mark.usefixtures("people")


@pytest.fixture
def confirm(importer: Importer) -> Confirm:
    """Import what a dry run has kept."""

    def run(import_id: str, *, again: bool = False) -> ImportJob:
        return accept_kept_file(
            import_id, again=again, spool=importer.spool, stream=importer.stream
        )

    return run


def rehearse(importer: Importer, import_id: str) -> Summary:
    assert importer.plan(import_id) == []
    summary = read_progress(importer.stream, import_id)
    assert summary
    assert summary["status"] == "done"
    return summary


def contents(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, with the transactions that wrote them."""
    found = {}
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            query = sa.select(sa.literal_column("xmin::text"), table)
            found[table.name] = sorted(map(tuple, connection.execute(query)), key=repr)
    return found


def test_dry_run_changes_no_table_and_leaves_no_file(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(KNOWN)
    before = contents(engine)
    import_id = accept(FILE, dry_run=True)
    rehearse(importer, import_id)
    assert contents(engine) == before
    assert importer.spool.list_waiting() == []
    assert importer.plan is not None
    assert importer.spool.manifest(import_id) is None


def test_dry_run_counts_and_differences_equal_those_of_the_import(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(KNOWN)
    would = rehearse(importer, accept(FILE, dry_run=True))["would"]
    assert (would["insert"], would["change"]) == (1, 2)
    assert {name: would[name] for name in COUNTS[1:]} == {
        "unchanged": 1,
        "stale": 0,
        "superseded": 1,
        "rejected": 2,
    }
    assert would["differences"] == [
        {"id": 2, "column": "status", "before": "new", "after": "paid"},
        {"id": 2, "column": "total", "before": "20.00", "after": "25.00"},
        {"id": 3, "column": "customer_id", "before": 3, "after": 4},
    ]
    assert [each["code"] for each in would["rejects"]] == ["unknown_customer", "bad_number"]
    assert would["customers"] == 4, "2, 3, 4 and 5"
    assert would["seconds"] >= 0
    done = load(FILE)
    assert done["applied"] == would["insert"] + would["change"]
    assert all(done[name] == would[name] for name in COUNTS[1:])


def test_dry_run_lists_exactly_the_reports_that_change(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(KNOWN)
    refresh(engine, importer.cache, lambda ids: cached.invalidate(importer.cache, ids), 1000)
    same = rehearse(importer, accept(KNOWN, dry_run=True))["would"]
    assert same["reports"] == []
    old = KNOWN.replace(b"status", b"created_at").replace(b"new", b"2001-01-01")
    new = old + b"4,4,1,2001-01-01\n"
    moved = rehearse(importer, accept(new, dry_run=True))["would"]
    assert moved["reports"] == [window.value for window in Window]
    cancelled = KNOWN + b"9,1,5,cancelled\n"
    assert rehearse(importer, accept(cancelled, dry_run=True))["would"]["reports"] == []


def test_dry_run_supports_customer_files(accept: AcceptFile, importer: Importer) -> None:
    file = b"id,name\n1,Ada\n2,Customer 2\n50,Grace\n"
    would = rehearse(importer, accept(file, "customers", dry_run=True))["would"]
    assert (would["insert"], would["change"], would["unchanged"]) == (1, 1, 1)
    assert would["customers"] == 2


def test_dry_run_does_not_reject_customers_to_be_created(
    engine: sa.Engine, accept: AcceptFile, importer: Importer
) -> None:
    file = b"id,customer_id,total\n1,50,1\n"
    would = rehearse(importer, accept(file, dry_run=True, create_customers=True))["would"]
    assert (would["insert"], would["rejected"]) == (1, 0)
    with engine.connect() as connection:
        assert not connection.execute(sa.select(customers).where(customers.c.id == 50)).all()


keys = st.integers(1, 5)
lines = st.lists(
    st.tuples(keys, st.sampled_from(("1", "2", "3", "x")), st.sampled_from(("1", "2", "99"))),
    min_size=1,
    max_size=10,
)


@pytest.mark.slow
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.dictionaries(keys, st.integers(1, 3)), lines)
def test_any_import_equals_its_dry_run(
    engine: sa.Engine,
    importer: Importer,
    accept: AcceptFile,
    load: LoadFile,
    known: dict[int, int],
    lines: list[tuple[int, str, str]],
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(orders))
        if known:
            rows = [{"id": key, "customer_id": 1, "total": value} for key, value in known.items()]
            connection.execute(sa.insert(orders), rows)
    file = "id,total,customer_id\n" + "".join(",".join(map(str, line)) + "\n" for line in lines)
    would = rehearse(importer, accept(file.encode(), dry_run=True))["would"]
    done = load(file.encode())
    assert done["applied"] == would["insert"] + would["change"]
    assert [done[name] for name in COUNTS[1:]] == [would[name] for name in COUNTS[1:]]


def test_dry_run_of_strict_file_with_a_bad_row_predicts_no_change(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(KNOWN)
    summary = rehearse(importer, accept(FILE, dry_run=True, strict=True))
    would, import_id = summary["would"], accept(FILE, strict=True)
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    done = read_progress(importer.stream, import_id)
    assert done
    for name in ("rows", "rows_left", *COUNTS):
        assert summary[name] == done[name], name
    counted = {name: would[name] for name in ("insert", "change", "unchanged", "rejected")}
    assert counted == {"insert": 0, "change": 0, "unchanged": 0, "rejected": 2}


def test_dry_run_reports_renamed_listed_customers(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(KNOWN)
    refresh(engine, importer.cache, lambda _ids: None, 1000)
    other = rehearse(importer, accept(b"id,name\n1,Ada\n", "customers", dry_run=True))["would"]
    assert Window.ALL.value in other["reports"]
    unlisted = accept(b"id,name\n9,Ada\n", "customers", dry_run=True)
    assert rehearse(importer, unlisted)["would"]["reports"] == []


def test_file_kept_after_dry_run_is_imported_once_unchanged(
    load: LoadFile, accept: AcceptFile, importer: Importer, confirm: Confirm
) -> None:
    """In the order of all writes it comes after what was written meanwhile."""
    load(KNOWN)
    import_id = accept(FILE, dry_run=True, keep=True, again=False, max_rejects=2)
    would = rehearse(importer, import_id)["would"]
    load(b"id,customer_id,total,status\n2,2,22,sent\n")
    job = confirm(import_id)
    assert (job.id, job.repeated) == (import_id, False)
    published = read_progress(importer.stream, import_id) or {}
    assert (published["status"], published["dry_run"], published["max_rejects"]) == (
        "accepted",
        False,
        2,
    )
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)
    done = read_progress(importer.stream, import_id) or {}
    assert (done["status"], done["dry_run"], done["stale"]) == ("done", False, 0)
    assert done["applied"] == would["insert"] + would["change"]
    assert importer.spool.list_waiting() == []
    with pytest.raises(WrongState, match="submit the file again"):
        confirm(import_id)


def test_same_content_is_imported_once_after_any_number_of_dry_runs(
    accept: AcceptFile, importer: Importer, confirm: Confirm
) -> None:
    first, second = (accept(KNOWN, dry_run=True, keep=True) for _ in range(2))
    for each in (first, second):
        rehearse(importer, each)
    assert confirm(first).repeated is False
    assert (confirm(second).id, confirm(second).repeated) == (first, True)
    assert (confirm(second, again=True).id, importer.spool.list_waiting()) == (
        second,
        [first, second],
    )


def test_file_without_keep_is_deleted_after_dry_run(
    accept: AcceptFile, importer: Importer, confirm: Confirm
) -> None:
    import_id = accept(KNOWN, dry_run=True)
    rehearse(importer, import_id)
    with pytest.raises(WrongState):
        confirm(import_id)
    with pytest.raises(DataMissing):
        importer.spool.size(import_id)


def test_dry_run_repeated_after_worker_kill_keeps_its_file(
    accept: AcceptFile, importer: Importer, confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = accept(KNOWN, dry_run=True, keep=True)

    def killed(_self: Spool, _id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "withdraw_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            importer.plan(import_id)
    with pytest.raises(WrongState):
        confirm(import_id)
    rehearse(importer, import_id)
    assert confirm(import_id).id == import_id
