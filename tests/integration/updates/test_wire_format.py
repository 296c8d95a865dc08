"""The contract of docs/wire-format.md, used without our code: by plain commands and SQL."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.schema import customers, dead_updates
from orderworks.updates import outbox
from orderworks.updates.stream import UpdateStream
from tests.support.processes import ROOT
from tests.support.types import DrainAll, ReadRows, WriteRows

VECTORS: dict[str, Any] = json.loads(
    (ROOT / "docs" / "wire-format-vectors.json").read_text("utf-8")
)
INVALID = [each for each in VECTORS["invalid"] if "document" in each]
LARGEST = 2**63 - 1


def say(stream: Redis, *command: str) -> Any:  # noqa: ANN401 - the reply to any command
    """Send a command as `redis-cli` does."""
    return stream.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def vector_orders(seed: WriteRows, engine: sa.Engine) -> None:
    """The orders that the vectors name, and their customers."""
    seed({key: (1, "new", Decimal("1.00"), -1) for key in (1, 7, 42, LARGEST)})
    with engine.begin() as connection:
        named = [{"id": each, "name": "Named"} for each in (3, LARGEST)]
        connection.execute(sa.insert(customers), named)


@pytest.mark.parametrize("vector", VECTORS["valid"])
def test_a_valid_document_is_applied_from_a_plain_xadd(
    vector: dict[str, Any], stream: Redis, drain: DrainAll, rows: ReadRows
) -> None:
    update = vector["update"]
    key = f"orders:updates:{{{update['order_id'] % 2}}}"
    answer = say(stream, "XADD", key, "*", "update", vector["document"])
    drain()
    milliseconds, sequence = map(int, answer.split(b"-"))
    version = (milliseconds << 20) + sequence if update["version"] is None else update["version"]
    assert rows()[update["order_id"]] == (
        update["customer_id"] or 1,
        update["status"] or "new",
        Decimal(update["total"] or "1.00"),
        version,
    )


def test_invalid_documents_are_dead_lettered_naming_the_member(
    stream: Redis, drain: DrainAll, engine: sa.Engine
) -> None:
    for vector in INVALID:
        arguments = ("orders:updates:{0}", "*", "update", vector["document"])
        say(stream, "XADD", *arguments)
    assert drain()[0].verdicts == {"dead": len(INVALID)}
    letters = sa.select(dead_updates.c.reason).order_by(dead_updates.c.entry)
    with engine.connect() as connection:
        reasons = list(connection.scalars(letters))
    for vector, reason in zip(INVALID, reasons, strict=True):
        assert reason.startswith(f"cannot be read: {vector['field']}: ")


def test_verdict_of_tracked_entry_is_under_the_documented_key(
    stream: Redis, drain: DrainAll
) -> None:
    for document in ('{"order_id":42,"status":"paid"}', '{"order_id":42,"status":""}'):
        arguments = ("orders:updates:{0}", "*", "update", document, "track", "", "other", "x")
        entry = say(stream, "XADD", *arguments)
        assert stream.get(f"orders:verdict:{{0}}:{entry.decode()}") is None
        drain()
        said: Any = stream.get(f"orders:verdict:{{0}}:{entry.decode()}")
        verdict = json.loads(said)
        assert verdict["verdict"] == ("dead" if '""' in document else "applied")
        assert bool(verdict["reason"]) == (verdict["verdict"] == "dead")


def test_layout_key_matches_what_producers_use(stream: Redis, updates: UpdateStream) -> None:
    assert say(stream, "SET", "orders:layout:{0}", "2", "NX")
    updates.append(1, [b'{"order_id":1,"total":"1"}'])
    assert stream.get("orders:layout:{0}") == stream.get("orders:layout:{1}") == b"2"


@pytest.fixture
def insert_only_role(engine: sa.Engine, admin: sa.Engine) -> Iterator[str]:
    """A role with the privileges that the page grants, and no others."""
    name = f"shop_{engine.url.database}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE {name}"))
        connection.execute(sa.text(f"GRANT {name} TO {engine.url.username}"))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "GRANT INSERT (order_id, total, status, customer_id, version) "
                f"ON update_outbox TO {name}"
            )
        )
    yield name
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP OWNED BY {name}"))
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP ROLE {name}"))


def test_insert_only_role_can_enqueue_and_nothing_else(
    engine: sa.Engine, insert_only_role: str
) -> None:
    allowed = (
        "INSERT INTO update_outbox (order_id, total, status, customer_id, version) "
        "VALUES (42, 19.90, 'paid', NULL, NULL)"
    )
    with engine.begin() as connection:
        connection.execute(sa.text(f"SET LOCAL ROLE {insert_only_role}"))
        connection.execute(sa.text(allowed))
    with engine.connect() as connection:
        assert outbox.waits(connection)
    for statement in (
        "INSERT INTO update_outbox (order_id, total, enqueued_at) VALUES (1, 1, now())",
        "INSERT INTO update_outbox (id, order_id, total) VALUES (1, 1, 1)",
        "SELECT * FROM update_outbox",
        "DELETE FROM update_outbox",
        "UPDATE orders SET total = 0",
    ):
        with engine.connect() as connection:
            connection.execute(sa.text(f"SET LOCAL ROLE {insert_only_role}"))
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.execute(sa.text(statement))


def test_outbox_total_is_rounded_by_the_database(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        inserted = "INSERT INTO update_outbox (order_id, total) VALUES (42, 7.555) RETURNING total"
        assert connection.scalar(sa.text(inserted)) == Decimal("7.56")
