"""Rows that the table has already are left as they are, and the last word is still the file's."""

import itertools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderworks.core.database import make_engine
from orderworks.core.schema import change_log, customer_changes, orders, parked_updates
from orderworks.core.settings import Settings
from orderworks.imports import control
from orderworks.imports.importer import Importer
from orderworks.imports.loading.upsert import Upsert
from orderworks.updates import outbox
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tests.support.processes import eventually
from tests.support.types import AcceptFile, LoadFile

Tuples = list[tuple[Any, ...]]

FILE = b"id,customer_id,total,status\n" + b"".join(b"%d,1,%d,paid\n" % (n, n) for n in range(1, 8))

pytestmark = pytest.mark.usefixtures("people")


def physically(engine: sa.Engine) -> Tuples:
    """The position of each row and the transaction that wrote it: any write changes them."""
    query = sa.select(
        sa.literal_column("ctid::text"), sa.literal_column("xmin::text"), orders.c.version
    ).order_by(orders.c.id)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def versions(engine: sa.Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(orders.c.version).order_by(orders.c.id)))


def totals(engine: sa.Engine) -> dict[int, int]:
    with engine.connect() as connection:
        query = sa.select(orders.c.id, orders.c.total)
        return {key: int(total) for key, total in connection.execute(query)}


def test_same_file_again_writes_nothing(engine: sa.Engine, load: LoadFile) -> None:
    load(FILE)
    with engine.begin() as connection:
        connection.execute(sa.delete(change_log))
    before = physically(engine)
    assert load(FILE)["unchanged"] == 7
    assert physically(engine) == before
    with engine.connect() as connection:
        assert not connection.execute(sa.select(customer_changes)).all()


def test_equal_file_version_is_unchanged_and_a_higher_one_is_stored(
    engine: sa.Engine, load: LoadFile
) -> None:
    first = b"id,customer_id,total,version\n1,1,5,10\n"
    load(first)
    before = physically(engine)
    assert load(first)["unchanged"] == 1
    assert physically(engine) == before
    assert load(first.replace(b",10\n", b",30\n"))["unchanged"] == 1
    assert versions(engine) == [30]


def test_older_pending_update_does_not_overwrite_an_equal_row(
    engine: sa.Engine, load: LoadFile, updates: UpdateStream
) -> None:
    load(FILE)
    before = versions(engine)
    updates.append(1, [OrderUpdate(order_id=1, total="99").encode()])
    assert load(FILE)["unchanged"] == 7
    assert all(new > old for new, old in zip(versions(engine), before, strict=True))


def test_older_parked_update_does_not_overwrite_an_equal_row(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(FILE)
    before = versions(engine)
    with engine.begin() as connection:
        parked = {"shard": 0, "entry": 1, "order_id": 1, "payload": b"", "reason": ""}
        connection.execute(
            sa.insert(parked_updates).values(**parked, next_attempt_at=sa.func.now())
        )
    load(FILE)
    assert versions(engine)[0] > before[0]


def test_older_outbox_update_does_not_overwrite_an_equal_row(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(FILE)
    before = versions(engine)
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=1, total="99")])
    assert load(FILE)["unchanged"] == 7
    assert all(new > old for new, old in zip(versions(engine), before, strict=True))


def test_older_unfinished_import_does_not_overwrite_an_equal_row(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(FILE)
    unplanned = accept(FILE.replace(b"paid", b"sent"))
    before = versions(engine)
    load(FILE)
    after = versions(engine)
    assert after[0] > before[0]
    assert importer.plan(unplanned) == [0, 1, 2]
    load(FILE)
    assert versions(engine)[0] > after[0]
    for number in range(3):
        importer.load_chunk(unplanned, number)
    with engine.connect() as connection:
        assert set(connection.scalars(sa.select(orders.c.status))) == {"paid"}


def test_unchanged_later_line_wins_over_an_earlier_line_loaded_after_it(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(b"id,customer_id,total\n1,1,10\n2,1,10\n3,1,10\n")
    file = b"id,customer_id,total\n1,1,20\n2,1,20\n3,1,20\n1,1,10\n2,1,10\n3,1,30\n"
    import_id = accept(file)
    assert importer.plan(import_id) == [0, 1]
    later = importer.load_chunk(import_id, 1)
    assert later
    assert (later.summary["unchanged"], later.summary["applied"]) == (2, 1)
    earlier = importer.load_chunk(import_id, 0)
    assert earlier
    assert totals(engine) == {1: 20, 2: 20, 3: 30}
    assert earlier.chunks_to_nudge == [1]
    last = importer.load_chunk(import_id, 1)
    assert last
    assert totals(engine) == {1: 10, 2: 10, 3: 30}
    assert last.chunks_to_nudge == []
    counted = {name: last.summary[name] for name in ("status", "applied", "unchanged", "stale")}
    assert counted == {"status": "done", "applied": 5, "unchanged": 0, "stale": 1}


def test_chunks_without_shared_ids_are_not_rechecked(
    load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(FILE)
    import_id = accept(FILE.replace(b"1,1,1,", b"1,1,9,"))
    for number in reversed(importer.plan(import_id)):
        step = importer.load_chunk(import_id, number)
        assert step
        assert step.chunks_to_nudge == []


ids = st.integers(1, 6)
amounts = st.integers(1, 3)


@pytest.mark.slow
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.dictionaries(ids, amounts),
    st.lists(st.tuples(ids, amounts), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_last_line_wins_in_any_chunk_order_and_over_any_existing_rows(
    engine: sa.Engine,
    load: LoadFile,
    known: dict[int, int],
    lines: list[tuple[int, int]],
    dice: random.Random,
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(orders))
        if known:
            rows = [{"id": key, "customer_id": 1, "total": value} for key, value in known.items()]
            connection.execute(sa.insert(orders), rows)
    file = "id,customer_id,total\n" + "".join(f"{key},1,{value}\n" for key, value in lines)
    load(file.encode(), order=lambda chunks: dice.sample(chunks, len(chunks)))
    assert totals(engine) == {**known, **dict(lines)}


def meanwhile(monkeypatch: pytest.MonkeyPatch, when: str, act: Callable[[], object]) -> None:
    """Act once, in another session, between a statement of an upsert and the one before it."""
    statement = getattr(Upsert, when)
    acted: list[str] = []

    def later(self: Upsert, first_id: int, last_id: int) -> Any:  # noqa: ANN401 - a statement
        if not acted:
            acted.append(when)
            act()
        return statement(self, first_id, last_id)

    monkeypatch.setattr(Upsert, when, later)


def set_total(engine: sa.Engine, total: int, version: int) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(orders).values(total=total, version=version))


def test_older_write_between_comparison_and_renewal_is_overwritten(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = b"id,customer_id,total\n1,1,10\n"
    load(file)
    [version] = versions(engine)
    accept(FILE)  # An older import that waits: equal rows are renewed.
    meanwhile(monkeypatch, "renew_versions", lambda: set_total(engine, 20, version + 1))
    load(file)
    assert totals(engine) == {1: 10}


def test_row_made_equal_by_a_concurrent_older_write_gets_the_newer_version(
    engine: sa.Engine, load: LoadFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(b"id,customer_id,total\n1,1,5\n")
    [version] = versions(engine)
    meanwhile(monkeypatch, "update", lambda: set_total(engine, 10, version + 1))
    load(b"id,customer_id,total\n1,1,10\n")
    assert totals(engine) == {1: 10}
    assert versions(engine)[0] > version + 1


def test_cancelled_import_does_not_overwrite_the_next_one(
    engine: sa.Engine, load: LoadFile, accept: AcceptFile, importer: Importer
) -> None:
    load(FILE)
    before = versions(engine)
    wrong = accept(FILE.replace(b"paid", b"wrong"))
    importer.plan(wrong)
    control.apply_action(engine, importer.stream, control.cancel, wrong)
    load(FILE)
    assert all(new > old for new, old in zip(versions(engine), before, strict=True))


def test_largest_id_is_handled_like_any_other(engine: sa.Engine, load: LoadFile) -> None:
    load(b"id,customer_id,total\n%d,1,1\n" % (2**63 - 1))
    assert totals(engine) == {2**63 - 1: 1}


def test_same_json_lines_again_write_nothing(engine: sa.Engine, load: LoadFile) -> None:
    lines = b'{"id": 1, "customer_id": 1, "total": 5}\n{"id": 2, "customer_id": 1, "total": 6}\n'
    load(lines)
    before = physically(engine)
    assert load(lines)["unchanged"] == 2
    assert physically(engine) == before


TIED = b"id,customer_id,total,version\n" + b"".join(
    b"1,1,%d,5\n%d,1,0,5\n%d,1,0,5\n" % (total, 10 * total, 11 * total) for total in (1, 2, 3)
)
"""Three chunks, each with another total for the same order in the same version."""


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("before", [None, 4, 5, 6])
def test_last_row_of_equal_versions_wins_in_any_chunk_order(
    order: Sequence[int], before: int | None, engine: sa.Engine, load: LoadFile
) -> None:
    if before is not None:
        load(b"id,customer_id,total,version\n1,1,9,%d\n" % before)
    load(TIED, order=lambda _chunks: order)
    assert totals(engine)[1] == (9 if before == 6 else 3)
    assert versions(engine)[0] == (before if before == 6 else 5)


def test_last_row_of_equal_versions_wins_in_a_strict_file(
    engine: sa.Engine, load: LoadFile
) -> None:
    load(TIED, strict=True)
    assert totals(engine)[1] == 3


@pytest.mark.parametrize("numbers", [(0, 2), (2, 0)])
def test_last_row_of_equal_versions_wins_over_a_concurrent_write(
    numbers: tuple[int, int],
    settings: Settings,
    load: LoadFile,
    accept: AcceptFile,
    importer: Importer,
) -> None:
    load(b"id,customer_id,total,version\n1,1,9,4\n")
    import_id = accept(TIED)
    importer.plan(import_id)
    other = make_engine(settings, "orderworks-test")
    with ThreadPoolExecutor() as pool:
        with other.begin() as holder:
            holder.execute(sa.select(orders).where(orders.c.id == 1).with_for_update())
            loads = []
            for count, number in enumerate(numbers, start=1):
                loads.append(pool.submit(importer.load_chunk, import_id, number))
                eventually(partial(_wait, other, count), 10, "a chunk waits for the row")
        for each in loads:
            each.result(20)
    assert totals(other)[1] == 3
    other.dispose()


def _wait(engine: sa.Engine, count: int) -> bool:
    """Return whether this number of sessions of this database wait for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(waiting)) == count)


@pytest.mark.parametrize("last", [b"2", b"4"])
def test_equal_field_beside_a_stale_one_gets_the_version_of_its_row(
    last: bytes, engine: sa.Engine, load: LoadFile
) -> None:
    """The row of version 3 changes nothing, and yet its status is newer than that of version 2."""
    load(b"id,customer_id,total,status,version\n1,1,10,paid,1\n")
    load(b"id,customer_id,total,version\n1,1,20,5\n")
    assert load(b"id,customer_id,total,status,version\n1,1,15,paid,3\n")["stale"] == 1
    load(b"id,customer_id,total,status,version\n1,1,15,sent," + last + b"\n")
    with engine.connect() as connection:
        status = connection.scalar(sa.select(orders.c.status))
    assert status == ("paid" if last == b"2" else "sent")
